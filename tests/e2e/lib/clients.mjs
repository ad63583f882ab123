// The official clients, unchanged, behind one small form: what is asked, and what each of them made of the answer.
//   ask({model, text | turns, stream, tools, schema, image, signal}) -> {text, calls: [{id, name, input}], usage: {input, output}}
//   turns(call, result) -> the messages of a second round: the question, the model's call, what the tool gave
//   fault(error) -> {status, name} of the error the client throws
const load = (name) => import(name).then((m) => m, () => null);
const [openai, anthropic, ollama, ai, aiOpenAI, aiCompatible, langchain, langchainCore] = await Promise.all(
  ['openai', '@anthropic-ai/sdk', 'ollama', 'ai', '@ai-sdk/openai', '@ai-sdk/openai-compatible', '@langchain/openai', '@langchain/core/messages'].map(load));

export const png = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==';
export const parameters = { type: 'object', properties: { city: { type: 'string', description: 'where' } }, required: ['city'], additionalProperties: false };
const description = 'the weather of a place';
const instruction = 'Be brief.';
const collect = async (stream, take) => {
  for await (const event of stream) take(event);
};

function chatCompletions(url, apiKey) {
  const client = new openai.default({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 });
  return {
    turns: (call, result) => [
      { role: 'user', content: 'What is the weather in Köln?' },
      { role: 'assistant', content: null, tool_calls: [{ id: call.id, type: 'function', function: { name: call.name, arguments: JSON.stringify(call.input) } }] },
      { role: 'tool', tool_call_id: call.id, content: result },
    ],
    async ask({ model, text, turns, stream, tools, schema, image, signal }) {
      const content = image ? [{ type: 'text', text }, { type: 'image_url', image_url: { url: `data:image/png;base64,${png}` } }] : text;
      const body = { model, messages: [{ role: 'developer', content: instruction }, ...(turns ?? [{ role: 'user', content }])], max_completion_tokens: 200 };
      if (tools) body.tools = [{ type: 'function', function: { name: 'weather', description, parameters } }];
      if (schema) body.response_format = { type: 'json_schema', json_schema: { name: 'place', strict: true, schema: parameters } };
      if (!stream) {
        const { choices: [{ message }], usage } = await client.chat.completions.create(body, { signal });
        return {
          text: message.content ?? '',
          calls: (message.tool_calls ?? []).map((c) => ({ id: c.id, name: c.function.name, input: JSON.parse(c.function.arguments) })),
          usage: { input: usage.prompt_tokens, output: usage.completion_tokens },
        };
      }
      const runner = client.chat.completions.stream({ ...body, stream_options: { include_usage: true } }, { signal });
      const { choices: [{ message }], usage } = await runner.finalChatCompletion();
      return {
        text: message.content ?? '',
        calls: (message.tool_calls ?? []).map((c) => ({ id: c.id, name: c.function.name, input: JSON.parse(c.function.arguments) })),
        usage: { input: usage.prompt_tokens, output: usage.completion_tokens },
      };
    },
    fault: (e) => ({ status: e.status, name: e.constructor.name }),
    names: { 400: 'BadRequestError', 401: 'AuthenticationError', 404: 'NotFoundError', 413: 'APIError', 429: 'RateLimitError', 500: 'InternalServerError', 529: 'InternalServerError' },
  };
}

function responses(url, apiKey) {
  const client = new openai.default({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 });
  const read = (r) => ({
    text: r.output.filter((i) => i.type === 'message').flatMap((i) => i.content).map((c) => c.text).join(''),
    calls: r.output.filter((i) => i.type === 'function_call').map((i) => ({ id: i.call_id, name: i.name, input: JSON.parse(i.arguments) })),
    usage: { input: r.usage.input_tokens, output: r.usage.output_tokens },
  });
  return {
    turns: (call, result) => [
      { role: 'user', content: 'What is the weather in Köln?' },
      { type: 'function_call', call_id: call.id, name: call.name, arguments: JSON.stringify(call.input) },
      { type: 'function_call_output', call_id: call.id, output: result },
    ],
    async ask({ model, text, turns, stream, tools, schema, image, signal }) {
      const content = image ? [{ type: 'input_text', text }, { type: 'input_image', image_url: `data:image/png;base64,${png}`, detail: 'auto' }] : text;
      const body = { model, instructions: instruction, input: turns ?? [{ role: 'user', content }], max_output_tokens: 200, store: false };
      if (tools) body.tools = [{ type: 'function', name: 'weather', description, parameters, strict: true }];
      if (schema) body.text = { format: { type: 'json_schema', name: 'place', strict: true, schema: parameters } };
      if (!stream) return read(await client.responses.create(body, { signal }));
      return read(await client.responses.stream(body, { signal }).finalResponse());
    },
    fault: (e) => ({ status: e.status, name: e.constructor.name }),
    names: { 400: 'BadRequestError', 401: 'AuthenticationError', 404: 'NotFoundError', 413: 'APIError', 429: 'RateLimitError', 500: 'InternalServerError', 529: 'InternalServerError' },
  };
}

function messages(url, apiKey) {
  const client = new anthropic.default({ baseURL: url, apiKey, maxRetries: 0 });
  const read = (m) => ({
    text: m.content.filter((b) => b.type === 'text').map((b) => b.text).join(''),
    calls: m.content.filter((b) => b.type === 'tool_use').map(({ id, name, input }) => ({ id, name, input })),
    usage: { input: m.usage.input_tokens, output: m.usage.output_tokens },
  });
  return {
    turns: (call, result) => [
      { role: 'user', content: 'What is the weather in Köln?' },
      { role: 'assistant', content: [{ type: 'tool_use', id: call.id, name: call.name, input: call.input }] },
      { role: 'user', content: [{ type: 'tool_result', tool_use_id: call.id, content: result }] },
    ],
    async ask({ model, text, turns, stream, tools, schema, image, signal }) {
      const content = image ? [{ type: 'text', text }, { type: 'image', source: { type: 'base64', media_type: 'image/png', data: png } }] : text;
      const body = { model, system: [{ type: 'text', text: instruction }], messages: turns ?? [{ role: 'user', content }], max_tokens: 200 };
      if (tools) body.tools = [{ name: 'weather', description, input_schema: parameters }];
      if (schema) body.output_config = { format: { type: 'json_schema', schema: parameters } };
      if (!stream) return read(await client.messages.create(body, { signal }));
      return read(await client.messages.stream(body, { signal }).finalMessage());
    },
    fault: (e) => ({ status: e.status, name: e.constructor.name, type: e.error?.error?.type }),
    names: { 400: 'BadRequestError', 401: 'AuthenticationError', 404: 'NotFoundError', 413: 'ContentTooLargeError', 429: 'RateLimitError', 500: 'InternalServerError', 529: 'OverloadedError' },
    types: { 400: 'invalid_request_error', 401: 'authentication_error', 404: 'not_found_error', 413: 'request_too_large', 429: 'rate_limit_error', 529: 'overloaded_error' },
  };
}

function ollamaChat(url, apiKey) {
  const client = () => new ollama.Ollama({ host: url, headers: { authorization: `Bearer ${apiKey}` } });
  return {
    turns: (call, result) => [
      { role: 'user', content: 'What is the weather in Köln?' },
      { role: 'assistant', content: '', tool_calls: [{ function: { name: call.name, arguments: call.input } }] },
      { role: 'tool', tool_name: call.name, content: result },
    ],
    async ask({ model, text, turns, stream, tools, schema, image, signal }) {
      const c = client(); // it aborts all that it runs
      const question = { role: 'user', content: text };
      if (image) question.images = [png];
      const body = { model, stream: !!stream, messages: [{ role: 'system', content: instruction }, ...(turns ?? [question])], options: { num_predict: 200 } };
      if (tools) body.tools = [{ type: 'function', function: { name: 'weather', description, parameters } }];
      if (schema) body.format = parameters;
      signal?.addEventListener('abort', () => c.abort());
      const out = { text: '', calls: [], usage: {} };
      const take = (r) => {
        out.text += r.message.content;
        for (const call of r.message.tool_calls ?? []) out.calls.push({ id: call.id, name: call.function.name, input: call.function.arguments });
        if (r.done) out.usage = { input: r.prompt_eval_count, output: r.eval_count };
      };
      const answer = await c.chat(body);
      if (stream && signal?.aborted) answer.abort(); // the client knows of a stream once its first bytes are there
      if (stream) await collect(answer, take);
      else take(answer);
      return out;
    },
    fault: (e) => ({ status: e.status_code, name: e.name }),
    names: { 400: 'ResponseError', 401: 'ResponseError', 404: 'ResponseError', 413: 'ResponseError', 429: 'ResponseError', 500: 'ResponseError', 529: 'ResponseError' },
  };
}

// Vercel's, over chat completions or over responses.
function vercel(make) {
  return (url, apiKey) => {
    const provider = make(`${url}/v1`, apiKey);
    return {
      turns: (call, result) => [
        { role: 'user', content: 'What is the weather in Köln?' },
        { role: 'assistant', content: [{ type: 'tool-call', toolCallId: call.id, toolName: call.name, input: call.input }] },
        { role: 'tool', content: [{ type: 'tool-result', toolCallId: call.id, toolName: call.name, output: { type: 'text', value: result } }] },
      ],
      async ask({ model, text, turns, stream, tools, schema, image, signal }) {
        const content = image ? [{ type: 'text', text }, { type: 'image', image: Buffer.from(png, 'base64'), mediaType: 'image/png' }] : text;
        let failure;
        const options = {
          model: provider(model), system: instruction, messages: turns ?? [{ role: 'user', content }], maxOutputTokens: 200, maxRetries: 0,
          abortSignal: signal, onError: ({ error }) => (failure = error),
        };
        if (tools) options.tools = { weather: ai.tool({ description, inputSchema: ai.jsonSchema(parameters) }) };
        if (schema) options.output = ai.Output.object({ schema: ai.jsonSchema(parameters), name: 'place' });
        const r = stream ? ai.streamText(options) : await ai.generateText(options);
        try {
          if (stream) await r.consumeStream({ onError: (e) => (failure ??= e) });
          if (failure) throw failure;
          if (signal?.aborted) throw new Error('aborted');
          const [usage, calls, words] = [await r.usage, await r.toolCalls, await r.text];
          if (schema) await r.output; // it is valid by the client's own lights
          return {
            text: words,
            calls: calls.map((c) => ({ id: c.toolCallId, name: c.toolName, input: c.input })),
            usage: { input: usage.inputTokens, output: usage.outputTokens },
          };
        } catch (e) {
          throw failure ?? e;
        }
      },
      fault: (e) => ({ status: e.statusCode, name: e.name }),
      names: Object.fromEntries([400, 401, 404, 413, 429, 500, 529].map((s) => [s, 'AI_APICallError'])),
    };
  };
}

function langchainChat(url, apiKey) {
  const { HumanMessage, SystemMessage, AIMessage, ToolMessage } = langchainCore;
  const read = (m) => ({
    text: typeof m.content === 'string' ? m.content : m.content.map((c) => c.text ?? '').join(''),
    calls: (m.tool_calls ?? []).map((c) => ({ id: c.id, name: c.name, input: c.args })),
    usage: { input: m.usage_metadata?.input_tokens, output: m.usage_metadata?.output_tokens },
  });
  return {
    turns: (call, result) => [
      new HumanMessage('What is the weather in Köln?'),
      new AIMessage({ content: '', tool_calls: [{ id: call.id, name: call.name, args: call.input, type: 'tool_call' }] }),
      new ToolMessage({ tool_call_id: call.id, content: result }),
    ],
    async ask({ model, text, turns, stream, tools, schema, image, signal }) {
      let chat = new langchain.ChatOpenAI({ model, apiKey, maxRetries: 0, maxTokens: 200, streamUsage: true, configuration: { baseURL: `${url}/v1` } });
      if (tools) chat = chat.bindTools([{ type: 'function', function: { name: 'weather', description, parameters } }]);
      if (schema) chat = chat.withConfig({ response_format: { type: 'json_schema', json_schema: { name: 'place', strict: true, schema: parameters } } });
      const content = image ? [{ type: 'text', text }, { type: 'image_url', image_url: { url: `data:image/png;base64,${png}` } }] : text;
      const asked = [new SystemMessage(instruction), ...(turns ?? [new HumanMessage({ content })])];
      if (!stream) return read(await chat.invoke(asked, { signal }));
      let all;
      await collect(await chat.stream(asked, { signal }), (chunk) => (all = all ? all.concat(chunk) : chunk));
      return read(all);
    },
    fault: (e) => ({ status: e.status, name: e.constructor.name }),
    names: { 400: 'BadRequestError', 401: 'AuthenticationError', 404: 'NotFoundError', 413: 'APIError', 429: 'RateLimitError', 500: 'InternalServerError', 529: 'InternalServerError' },
  };
}

export const clients = {
  'openai chat': openai && chatCompletions,
  'openai responses': openai && responses,
  anthropic: anthropic && messages,
  ollama: ollama && ollamaChat,
  'ai chat': ai && aiCompatible && vercel((baseURL, apiKey) => aiCompatible.createOpenAICompatible({ name: 'weir', baseURL, apiKey, includeUsage: true, supportsStructuredOutputs: true })),
  'ai responses': ai && aiOpenAI && vercel((baseURL, apiKey) => aiOpenAI.createOpenAI({ baseURL, apiKey })),
  langchain: langchain && langchainChat,
};
