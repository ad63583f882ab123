// How providers embed and rank, for the simulated cloud: OpenAI's embeddings, Google's, Ollama's, and the rerank of
// Cohere, Jina and Voyage. Each refuses members that the real one does not know. From their public references.

// A vector that tells its text apart.
export function vectorOf(text, dimensions = 3) {
  const given = Array.isArray(text) ? String.fromCharCode(...text) : text;
  return Array.from({ length: dimensions }, (_, i) => Math.fround(((given.charCodeAt(i % (given.length || 1)) || 1) + i) / 300));
}

// A document's score: the share of the query's words that it has.
export function scoreOf(query, document) {
  const words = query.split(' ');
  return words.filter((w) => document.includes(w)).length / words.length;
}

const members = {
  openai: ['model', 'input', 'encoding_format', 'dimensions', 'user', 'input_type'],
  mistral: ['model', 'input', 'output_dimension'],
  voyage: ['model', 'input', 'output_dimension', 'input_type'],
  gemini: ['requests'],
  ollama: ['model', 'input', 'prompt', 'dimensions', 'truncate', 'options', 'keep_alive'],
  rerank: ['model', 'query', 'documents', 'top_n', 'user'],
  'rerank-voyage': ['model', 'query', 'documents', 'top_k'],
};

const packed = (vector) => Buffer.from(Float32Array.from(vector).buffer).toString('base64');

const answers = {
  openai(body, script) {
    const data = body.input.map((text, index) => {
      const vector = vectorOf(text, body.dimensions ?? body.output_dimension);
      return { object: 'embedding', index, embedding: body.encoding_format === 'base64' ? packed(vector) : vector };
    });
    data.reverse(); // nobody promises their order: the index tells
    const usage = { prompt_tokens: 4 * data.length, total_tokens: 4 * data.length };
    return { object: 'list', data, model: body.model, ...(script.silent ? {} : { usage }) };
  },
  gemini(body) {
    return {
      embeddings: body.requests.map((r) => ({ values: vectorOf(r.content.parts[0].text, r.outputDimensionality) })),
      usageMetadata: { promptTokenCount: 4 * body.requests.length },
    };
  },
  ollama(body) {
    if (body.prompt !== undefined) return { embedding: vectorOf(body.prompt).map((v) => 7 * v) };
    return {
      model: body.model,
      embeddings: body.input.map((text) => vectorOf(text, body.dimensions)),
      total_duration: 5e6,
      load_duration: 1e6,
      prompt_eval_count: 4 * body.input.length,
    };
  },
  rerank(body) {
    const most = body.top_n ?? body.top_k ?? body.documents.length;
    const results = body.documents
      .map((text, index) => ({ index, relevance_score: scoreOf(body.query, text) }))
      .sort((a, b) => b.relevance_score - a.relevance_score)
      .slice(0, most);
    return { id: 'rr', results, usage: { total_tokens: 9 } };
  },
  'rerank-voyage'(body, script) {
    const { results, usage } = answers.rerank(body, script);
    return { object: 'list', data: results, model: body.model, usage };
  },
};

// Which of them a request is for, and whether its address and key are right.
function kindOf(request, kind) {
  const { url, headers } = request;
  const bearer = headers.authorization === 'Bearer sk-simulated';
  if (kind === 'gemini') return headers['x-goog-api-key'] === 'sk-simulated' && url.endsWith(':batchEmbedContents') ? kind : null;
  if (kind === 'azure')
    return headers['api-key'] === 'sk-simulated' && url === '/openai/deployments/m/embeddings?api-version=2024-10-21' ? 'openai' : null;
  if (kind === 'ollama') return url === '/api/embed' || url === '/api/embeddings' ? kind : null;
  if (!bearer) return null;
  if (url.endsWith('/rerank')) return kind === 'voyage' ? 'rerank-voyage' : 'rerank';
  return url.endsWith('/embeddings') ? (members[kind] ? kind : 'openai') : null;
}

// `handle` of a Cloud. script: {silent: tells no usage, twist: (answer) => what is sent instead}
export function embedHandler(kind = 'openai', script = {}) {
  return async (request, response, body) => {
    const shape = kindOf(request, kind);
    const unknown = shape && Object.keys(body).filter((key) => !members[shape].includes(key));
    if (!shape || unknown.length) {
      response.writeHead(shape ? 400 : 404, { 'content-type': 'application/json' });
      return void response.end(JSON.stringify({ error: { message: `unknown: ${unknown ?? request.url}`, type: 'invalid_request_error' } }));
    }
    const made = (answers[shape] ?? answers.openai)(body, script);
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(JSON.stringify(script.twist ? script.twist(made) : made));
  };
}
