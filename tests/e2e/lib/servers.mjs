// How servers of OpenAI's shape really behave, for the simulated cloud: what each refuses, under which name it wants
// things, where it puts its usage and its reasoning. From their public references; the gateway's own table is
// src/provider/server.c, and neither reads the other.
const strict = (...allowed) => (body) => Object.keys(body).filter((key) => !allowed.includes(key));
const common = ['model', 'messages', 'stream', 'temperature', 'top_p', 'stop', 'tools', 'tool_choice', 'response_format'];

export const servers = {
  mistral: {
    unknown: strict(...common, 'max_tokens', 'random_seed', 'safe_prompt', 'presence_penalty', 'frequency_penalty', 'n',
      'parallel_tool_calls', 'prompt_mode'),
    roles: ['system', 'user', 'assistant', 'tool'],
    ids: /^[a-zA-Z0-9]{9}$/,
    required: 'any',
    reasoning: 'parts',
    finish: 'model_length',
  },
  deepseek: { roles: ['system', 'user', 'assistant', 'tool'], reasoning: 'reasoning_content', usage: 'deepseek' },
  groq: {
    unknown: (body) => ['logprobs', 'logit_bias', 'top_logprobs', 'presence_penalty'].filter((key) => key in body),
    member: (m) => 'name' in m || 'reasoning_content' in m || 'reasoning' in m,
    reasoning: 'reasoning',
    usage: 'x_groq',
  },
  xai: { reasoning: 'reasoning_content', usage: 'beside' },
  openrouter: { reasoning: 'reasoning', comments: true },
  together: { reasoning: 'reasoning' },
  fireworks: { reasoning: 'reasoning_content' },
  cerebras: {
    unknown: (body) =>
      ['frequency_penalty', 'logit_bias', 'presence_penalty', 'parallel_tool_calls', 'service_tier', 'store'].filter((k) => k in body),
    roles: ['system', 'user', 'assistant', 'tool'],
    reasoning: 'reasoning',
  },
  perplexity: {
    unknown: (body) => ['tools', 'tool_choice', 'logprobs', 'seed', 'stop', 'stream_options'].filter((key) => key in body),
    usage: 'every',
    noTools: true,
  },
  'gemini-openai': {
    unknown: (body) => ['seed', 'frequency_penalty', 'presence_penalty', 'store', 'user', 'parallel_tool_calls'].filter((k) => k in body),
    roles: ['system', 'user', 'assistant', 'tool'],
    usage: 'beside',
    array: true,
  },
  vllm: { roles: ['system', 'user', 'assistant', 'tool'], reasoning: 'reasoning' },
  sglang: { roles: ['system', 'user', 'assistant', 'tool'], reasoning: 'reasoning_content' },
  llamacpp: { reasoning: 'reasoning_content' },
  lmstudio: { reasoning: 'reasoning' },
  jan: { reasoning: 'reasoning_content' },
  'ollama-openai': { reasoning: 'reasoning', noRequired: true },
  azure: { azure: true },
};

// What is wrong with a request by this server's lights; '' for nothing.
function fault(server, request, body) {
  const auth = request.headers.authorization, key = request.headers['api-key'];
  if (server.azure ? key !== 'sk-simulated' || auth : auth !== 'Bearer sk-simulated') return '401';
  if (server.azure && request.url !== '/openai/deployments/m/chat/completions?api-version=2024-10-21') return '404';
  const unknown = server.unknown?.(body) ?? [];
  if (unknown.length) return `unknown members: ${unknown}`;
  for (const m of body.messages) {
    if (server.roles && !server.roles.includes(m.role)) return `no role ${m.role}`;
    if (server.member?.(m)) return `a message has a member that is not taken: ${Object.keys(m)}`;
    for (const id of [m.tool_call_id, ...(m.tool_calls ?? []).map((c) => c.id)])
      if (server.ids && id && !server.ids.test(id)) return `id ${id}`;
  }
  if (body.tool_choice === 'required' && server.required) return 'tool_choice';
  return '';
}

const usages = {
  deepseek: { prompt_tokens: 10, completion_tokens: 5, total_tokens: 15, prompt_cache_hit_tokens: 4, completion_tokens_details: { reasoning_tokens: 2 } },
  beside: { prompt_tokens: 10, completion_tokens: 3, total_tokens: 15, prompt_tokens_details: { cached_tokens: 4 }, completion_tokens_details: { reasoning_tokens: 2 } },
  plain: { prompt_tokens: 10, completion_tokens: 5, total_tokens: 15, prompt_tokens_details: { cached_tokens: 4 }, completion_tokens_details: { reasoning_tokens: 2 } },
};

// The same answer, whole.
function whole(server, body) {
  const usage = usages[server.usage] ?? usages.plain;
  const id = server.ids ? 'Abc012345' : 'call_1';
  const message = { role: 'assistant', content: body.tools ? null : 'Grüße all' };
  if (body.tools) message.tool_calls = [{ id, type: 'function', function: { name: 'f', arguments: '{"a":1}' } }];
  if (server.reasoning === 'parts')
    message.content = [
      { type: 'thinking', thinking: [{ type: 'text', text: 'hm' }] },
      ...(body.tools ? [] : [{ type: 'text', text: 'Grüße all' }]),
    ];
  else if (server.reasoning) message[server.reasoning] = 'hm';
  const finish_reason = body.tools ? 'tool_calls' : (server.finish ?? 'stop');
  return {
    id: 'c', object: 'chat.completion', created: 1, model: body.model, choices: [{ index: 0, message, finish_reason }],
    ...(server.usage === 'x_groq' ? { x_groq: { id: 'r', usage } } : { usage }),
    ...(server.azure ? { prompt_filter_results: [{ prompt_index: 0 }] } : {}),
  };
}

// Answers as the server named would: `handle` of a Cloud.
export function serverHandler(name) {
  const server = servers[name];
  return async (request, response, body) => {
    const wrong = fault(server, request, body);
    if (wrong) {
      const error = { error: { message: wrong, type: 'invalid_request_error', code: 400, status: 'INVALID_ARGUMENT' } };
      response.writeHead(/^\d+$/.test(wrong) ? Number(wrong) : 400, { 'content-type': 'application/json' });
      return void response.end(JSON.stringify(server.array ? [error] : error));
    }
    if (!body.stream) {
      response.writeHead(200, { 'content-type': 'application/json' });
      return void response.end(JSON.stringify(whole(server, body)));
    }
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    const usage = usages[server.usage] ?? usages.plain;
    const chunk = (delta, finish = null, more = {}) =>
      response.write(
        `data: ${JSON.stringify({ id: 'c', object: 'chat.completion.chunk', created: 1, model: body.model,
          choices: [{ index: 0, delta, finish_reason: finish }],
          ...(server.usage === 'every' ? { usage } : {}), ...more })}\n\n`,
      );
    if (server.azure) response.write('data: {"id":"","model":"","choices":[],"prompt_filter_results":[{"prompt_index":0}]}\n\n');
    if (server.comments) response.write(': OPENROUTER PROCESSING\n\n');
    if (server.reasoning === 'parts') chunk({ content: [{ type: 'thinking', thinking: [{ type: 'text', text: 'hm' }] }] });
    else if (server.reasoning) chunk({ [server.reasoning]: 'hm' });
    if (body.tools) {
      const id = server.ids ? 'Abc012345' : 'call_1';
      chunk({ tool_calls: [{ index: 0, id, type: 'function', function: { name: 'f', arguments: '{"a"' } }] });
      chunk({ tool_calls: [{ index: 0, function: { arguments: ':1}' } }] });
      chunk({}, 'tool_calls');
    } else {
      chunk({ content: 'Grüße' });
      chunk({ content: ' all' });
      chunk({}, server.finish ?? 'stop', server.usage === 'x_groq' ? { x_groq: { id: 'r', usage } } : {});
    }
    if (server.usage !== 'x_groq' && server.usage !== 'every')
      response.write(`data: ${JSON.stringify({ id: 'c', model: body.model, choices: [], usage })}\n\n`);
    response.end('data: [DONE]\n\n');
  };
}
