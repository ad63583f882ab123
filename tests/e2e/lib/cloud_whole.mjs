// The same answers as cloud.mjs streams, whole: for requests that do not ask for a stream.

const openai = (body, b, text, usage) => ({
  id: 'chatcmpl-sim',
  object: 'chat.completion',
  created: 1,
  model: body.model,
  choices: [
    {
      index: 0,
      ...(body.prompt === undefined
        ? {
            message: {
              role: 'assistant',
              content: text,
              refusal: null,
              tool_calls: b.tools?.map((t) => ({
                id: t.id,
                type: 'function',
                function: { name: t.name, arguments: t.arguments.join('') },
              })),
            },
          }
        : { text }),
      logprobs: null,
      finish_reason: b.finish ?? (b.tools ? 'tool_calls' : 'stop'),
    },
  ],
  usage: {
    prompt_tokens: usage.input,
    completion_tokens: usage.output,
    total_tokens: usage.input + usage.output,
    prompt_tokens_details: { cached_tokens: usage.cached ?? 0 },
  },
});

const anthropic = (body, b, text, usage) => ({
  id: 'msg_sim',
  type: 'message',
  role: 'assistant',
  model: body.model,
  content: b.blocks ?? [
    { type: 'text', text },
    ...(b.tools ?? []).map((t) => ({ type: 'tool_use', id: t.id, name: t.name, input: JSON.parse(t.arguments.join('') || '{}') })),
  ],
  stop_reason: b.finish ?? (b.tools && !b.blocks ? 'tool_use' : 'end_turn'),
  stop_sequence: null,
  usage: {
    input_tokens: usage.input,
    cache_read_input_tokens: usage.cached ?? 0,
    cache_creation_input_tokens: usage.written ?? 0,
    output_tokens: usage.output,
  },
});

const gemini = (request, b, text, usage) => ({
  candidates: [
    {
      index: 0,
      content: {
        parts: [
          { text },
          ...(b.tools ?? []).map((t) => ({ functionCall: { id: t.id, name: t.name, args: JSON.parse(t.arguments.join('')) } })),
        ],
        role: 'model',
      },
      finishReason: b.finish ?? 'STOP',
    },
  ],
  usageMetadata: {
    promptTokenCount: usage.input,
    cachedContentTokenCount: usage.cached ?? 0,
    candidatesTokenCount: usage.output,
    totalTokenCount: usage.input + usage.output,
  },
  modelVersion: /models\/([^:]+):/.exec(request.url)[1],
  responseId: 'sim',
});

function ollama(request, body, b, content, usage) {
  const thinking = b.thinking?.join('');
  const tool_calls = b.tools?.map((tool, index) => ({
    id: tool.id,
    function: { index, name: tool.name, arguments: JSON.parse(tool.arguments.join('')) },
  }));
  return {
    model: body.model,
    created_at: '2026-11-20T12:00:00.123456789Z',
    ...(request.url === '/api/chat'
      ? { message: { role: 'assistant', content, thinking, tool_calls } }
      : { response: content, thinking }),
    done: true,
    done_reason: b.finish ?? 'stop',
    total_duration: 5e6,
    load_duration: 1e6,
    prompt_eval_count: usage.input,
    prompt_eval_duration: 2e6,
    eval_count: usage.output,
    eval_duration: 2e6,
  };
}

// undefined: a stream is asked for.
export function wholeAnswer(request, body, b) {
  const pieces = b.text ?? ['Hello', ' from', ' the', ' cloud'];
  const usage = b.usage ?? { input: 7, output: pieces.length, cached: 0 };
  const text = pieces.join('');
  if (request.url.endsWith(':generateContent')) return gemini(request, b, text, usage);
  if (request.url.includes(':streamGenerateContent')) return undefined;
  if (request.url.startsWith('/api/')) return body.stream === false ? ollama(request, body, b, text, usage) : undefined;
  if (body.stream) return undefined;
  return request.url.endsWith('/messages') ? anthropic(body, b, text, usage) : openai(body, b, text, usage);
}
