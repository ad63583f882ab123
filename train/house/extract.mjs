// Job (b): a document, some fields, the values as JSON. Values are copied as they stand; what is not there is null.
import { readFileSync } from 'node:fs';
import { expand, half, list, sections } from './random.mjs';
import { anyCarrier, anyList, anyMessage, arrange, asks, disturbed } from './sort.mjs';

const read = (name, keys) => sections(readFileSync(new URL(name, import.meta.url), 'utf8'), keys);
const fields = read('fields.txt', ['slot', 'keys', 'labels']).map((s) => {
  const [name, kinds] = s.title.split(' / ');
  return { name, kinds: kinds.split(' '), slot: s.slot, keys: list(s.keys), labels: list(s.labels), says: s.lines };
});
const field = Object.fromEntries(fields.map((f) => [f.name, f]));
const parts = Object.fromEntries(read('documents.txt').map((s) => [s.title, s.lines.map((l) => l.replaceAll('\\n', '\n'))]));

const capital = (w) => w[0].toUpperCase() + w.slice(1);
/* Fields that could be taken for each other are not asked for beside a document that has but one of them. */
const alike = [['date', 'due_date', 'order_date', 'delivery_date', 'timestamp', 'time', 'appointment', 'birth_date', 'check_in', 'check_out', 'meeting_date'], ['total', 'tax', 'subtotal', 'price', 'discount', 'salary'], ['address', 'city', 'zip', 'ip', 'country', 'region', 'host', 'room'], ['product', 'quantity', 'version', 'serial_number', 'colour', 'size', 'weight', 'size_bytes'], ['person', 'company', 'user', 'job_title', 'department'], ['invoice_number', 'order_number', 'customer_number', 'ticket', 'contract', 'tracking', 'serial_number', 'vat_id', 'flight', 'plate', 'request_id', 'cost_centre', 'passport', 'bic'], ['message', 'file', 'path', 'website'], ['phone', 'fax'], ['quantity', 'age', 'mileage', 'room'], ['level', 'urgency'], ['country', 'spoken'], ['message', 'exception'], ['department', 'cost_centre'], ['delivery_method', 'payment_method', 'company'], ['event', 'meeting_date', 'product', 'appointment', 'time'], ['region', 'environment', 'host'], ['iban', 'bic'], ['reason', 'message', 'product', 'size', 'colour'], ['status', 'level', 'port', 'pid', 'device_code', 'retries', 'thread', 'size_bytes'], ['service', 'agent', 'host', 'thread', 'region'], ['iban', 'customer_number', 'payment_method'], ['duration', 'temperature']];
const near = (a, b) => alike.some((g) => g.includes(a) && g.includes(b));

/* What a line of a form looks like, and how its labels are written. */
const rows = [
  [16, (l, v) => `${l}: ${v}`], [1, (l, v) => `${l}:\n${v}`], [2, (l, v) => `${l} = ${v}`], [2, (l, v) => `${l} - ${v}`], [2, (l, v) => `${l} ${v}`], [2, (l, v) => `${l}:  ${v}`],
  [2, (l, v) => `${l} | ${v}`], [2, (l, v) => `${l}:${v}`], [2, (l, v) => `**${l}:** ${v}`], [1, (l, v) => `- ${l}: ${v}`], [1, (l, v) => `| ${l} | ${v} |`], [1, (l, v) => `${l}\t${v}`],
  [1, (l, v) => `${l} ..... ${v}`], [1, (l, v) => `${l}   ${v}`], [1, (l, v) => `"${l}";"${v}"`], [1, (l, v) => `<b>${l}</b> ${v}`], [1, (l, v) => `[${l}] ${v}`], [1, (l, v) => `* ${l} -> ${v}`], [1, (l, v) => `${v} (${l})`],
];
const labelCases = [[8, (l) => l], [1, (l) => l.toUpperCase()], [1, (l) => l.toLowerCase()], [1, (l) => l.split(' ').map(capital).join(' ')]];

/* What stands in the slots of a line that are fields. */
const fill = (found, values) => (s) => (field[s] ? (found[s] ??= values.get(field[s].slot)) : values.get(s));
/* A line of several fields, none of them taken. */
function pairOf(lines, held, r, taken) {
  const may = half(lines, held).filter((l) => !(l.match(/\{\w+\}/g) ?? []).some((s) => taken(s.slice(1, -1))));
  return may.length ? r.pick(may) : undefined;
}

/* Forms: lines of label and value between a title and some noise. */
function form(values, held) {
  const r = values.random, found = {};
  const may = fields.filter((f) => f.kinds.includes('form') && half(f.labels, held).length), mine = r.sample(may, r.between(2, 7));
  // Two dates or two numbers side by side, so that it is the label that tells.
  if (r.chance(0.4)) mine.push(...r.sample(may.filter((f) => !mine.includes(f) && near(f.name, mine[0].name)), r.between(1, 2)));
  r.shuffle(mine);
  const row = r.weigh(rows), spelled = r.weigh(labelCases);
  const lines = mine.map((f) => {
    found[f.name] = values.get(f.slot);
    return row(spelled(r.pick(half(f.labels, held))), found[f.name]);
  });
  const bare = r.chance(0.35) ? pairOf(parts['form line'], held, r, (s) => mine.some((f) => f.name === s)) : undefined;
  if (bare) lines.splice(r.chance(0.6) ? 0 : r.below(lines.length + 1), 0, expand(bare, r, fill(found, values)));
  for (let n = r.weigh([[6, 0], [3, 1], [1, 2]]); n > 0; n--) lines.splice(r.below(lines.length + 1), 0, expand(r.pick(half(parts['form noise'], held)), r, (s) => values.get(s)));
  if (r.chance(0.7)) lines.unshift(r.pick(half(parts['form title'], held)));
  const joint = row === rows[0][1] && !bare && r.chance(0.15) ? r.pick([', ', '; ', ' | ']) : r.chance(0.9) ? '\n' : '\n\n';
  return { text: lines.join(joint), found, kind: 'form', what: r.pick(['invoice', 'text', 'document', 'form', 'order', 'bill', 'invoice']) };
}

/* Fields that a signature may say. */
const inSignature = ['person', 'company', 'phone', 'job_title', 'address', 'zip', 'city', 'website', 'department', 'name'];

/* Mails: sentences that say a field each, with greeting, noise and signature. */
function mail(values, held) {
  const r = values.random, found = {};
  const pairs = r.weigh([[4, 0], [5, 1], [2, 2]]), signed = r.chance(0.5);
  const mine = r.sample(fields.filter((f) => f.kinds.includes('mail') && half(f.says, held).length && !(signed && inSignature.includes(f.name))), r.between(pairs ? 0 : 1, 4));
  const sentences = mine.map((f) => {
    found[f.name] = values.get(f.slot);
    return expand(r.pick(half(f.says, held)), r, (s) => (s === 'v' ? found[f.name] : values.get(s)));
  });
  for (let i = 0; i < pairs; i++) {
    const pair = pairOf(parts['mail pair'], held, r, (s) => s in found || (signed && inSignature.includes(s)));
    if (pair) sentences.splice(r.below(sentences.length + 1), 0, expand(pair, r, fill(found, values)));
  }
  const joint = r.pick([' ', ' ', '\n', ', and ']);
  const begun = (x) => (Object.values(found).some((v) => x.startsWith(v)) ? x : capital(x)); // a value stays as it is
  let text = begun(`${sentences.join(', and ')}.`);
  if (joint !== ', and ' || sentences.length === 0) {
    for (let n = r.weigh([[3, 0], [4, 1], [1, 2]]); n > 0; n--) sentences.splice(r.below(sentences.length + 1), 0, r.pick(half(parts['mail noise'], held)));
    text = sentences.map((s) => begun(/[.?!]$/.test(s) ? s : `${s}.`)).join(joint);
  }
  const gap = r.pick(['\n', '\n\n', ' ']);
  if (r.chance(0.6)) text = expand(r.pick(half(parts['mail greeting'], held)), r, (s) => values.get(s)) + gap + text;
  if (signed) {
    text += (gap === ' ' ? '\n' : gap) + expand(r.pick(half(parts['mail signature'], held)), r, fill(found, values));
  }
  if (r.chance(0.25)) text = `${expand(r.pick(half(parts['mail subject'], held)), r, (s) => values.get(s))}\n${text}`;
  if (r.chance(0.25) && !found.email) { // two addresses would leave open which is meant
    found.email = values.email();
    text = `From: ${signed && r.chance(0.5) ? `${found.person} <${found.email}>` : found.email}\n${text}`;
  }
  return { text, found, kind: 'mail', what: r.pick(['e-mail', 'email', 'message', 'mail', 'text', 'letter']) };
}

/* Log lines: the usual shapes, pairs of key and value, and JSON. */
function log(values, held) {
  const r = values.random, found = {};
  const get = fill(found, values);
  const shape = r.weigh([[7, 'line'], [2, 'pairs'], [1, 'json']]);
  let text;
  if (shape === 'line') text = expand(r.pick(half(parts.log, held)), r, get);
  else {
    const mine = r.sample(fields.filter((f) => f.kinds.includes('log')), r.between(3, 7)).map((f) => [r.pick(half(f.labels, false)), get(f.name)]);
    const gap = r.pick(['', ' ']), plain = r.chance(0.5); // numbers with or without marks
    const pair = r.pick([(k, v) => `${k}=${v.includes(' ') ? `"${v}"` : v}`, (k, v) => `${k}=${v.includes(' ') ? `"${v}"` : v}`, (k, v) => `${k}="${v}"`, (k, v) => `${k}: ${v}`, (k, v) => `${k}:${v}`, (k, v) => `[${k}=${v}]`, (k, v) => `<${k}>${v}</${k}>`]);
    text = shape === 'json' ? `{${mine.map(([k, v]) => `"${k}":${gap}${plain && /^[1-9]\d*$/.test(v) ? v : `"${v}"`}`).join(`,${gap}`)}}` : mine.map(([k, v]) => pair(k, v)).join(r.pick([' ', ' ', ', ', ' | ', '; ', '\t']));
    if (shape === 'pairs' && r.chance(0.3)) text = `${get(r.pick(['timestamp', 'level', 'host']))} ${text}`;
  }
  return { text, found, kind: 'log', what: r.pick(['log line', 'log entry', 'line', 'log', 'text', 'log message']) };
}

const more = ['number', 'name', 'no', 'id', 'value', 'date', 'of the', 'code', 'full', 'total', 'our', 'customer', 'new', 'type', 'info'];

/* Anything with labels nobody has seen: the key asked for stands there, and what follows it is wanted. */
function strange(values, held) {
  const r = values.random, found = {};
  const sign = r.pick([': ', ' = ', '=', ' -> ', ' is ', ': ', ' - ']);
  const [told, asked] = r.chance(0.5) ? [styles[0][1], styles[0][1]] : [r.weigh(styles), r.weigh(styles)]; // where it stands, and in the request
  const prose = r.chance(0.3);
  const lines = Array.from({ length: r.between(2, 6) }, () => {
    const key = r.pick([() => values.word(), () => capital(values.word()), () => values.get('noun'), () => values.phrase(1, 2), () => values.phrase(1, 2).replace(' ', '_'), () => `${values.get('noun')}_${values.get('noun')}`, () => `${values.word()} ${values.get('noun')}`])();
    const name = !held && r.chance(0.2) ? r.pick([`${key} ${r.pick(more)}`, `${r.pick(more)} ${key}`, `${key}_${r.pick(more)}`]) : key; // half of it is as good
    const value = found[asked(name)] = r.pick([() => values.word(), () => values.name(), () => values.id(), () => values.get('city'), () => values.count(), () => `${values.get('noun')} ${values.count()}`, () => values.date(), () => values.amount(), () => values.phrase(1, 4), () => values.title(), () => values.company()])();
    if (!prose) return `${told(key)}${sign}${value}`;
    const article = r.pick(['the ', 'our ', 'your ', 'my ', '']);
    return r.pick([`${article}${told(key)} is ${value}`, `${article}${told(key)} was ${value}`, `it has ${value} as ${told(key)}`, `we have noted ${value} for ${article}${told(key)}`, `${article}${told(key)} must be ${value}`]);
  });
  return { text: prose ? lines.map((l) => `${capital(l)}.`).join(r.pick([' ', '\n'])) : lines.join(r.pick(['\n', '\n', ', ', '; '])), found, kind: 'strange', what: r.pick(['text', 'record', 'note', 'list', 'document']) };
}

const styles = [
  [8, (k) => k], [2, (k) => k.replace(/_(.)/g, (_, c) => c.toUpperCase())], [1, (k) => capital(k.replaceAll('_', ' '))], [2, (k) => k.replaceAll('_', ' ')],
  [1, (k) => k.split('_').map(capital).join('')], [1, (k) => k.toUpperCase()], [1, (k) => k.replaceAll('_', '-')],
];

/** Practice for copying, which every job needs and none has enough of: a text to be said again. */
export function copyExample(values) {
  const r = values.random;
  // Long strange words first of all: hardly a token stands in one twice, so that what follows it is what followed it before.
  const kinds = r.chance(0.5) ? ['strange'] : ['name', 'id', 'word', 'email', 'amount', 'date', 'noun', 'company', 'street', 'phone', 'user', 'tracking', 'city', 'phrase', 'title', 'stamp', 'place', 'article', 'path', 'url'];
  const one = (kind) => (kind === 'strange' ? values.syllables(r.between(4, 10)) : values.get(kind));
  const text = Array.from({ length: kinds.length > 1 ? r.between(1, 7) : r.between(1, 2) }, () => one(r.pick(kinds))).join(r.pick([' ', ', ', '\n', ' - ', ' ']));
  const ask = r.pick(['Repeat', 'Copy', 'Say again', 'Echo', 'Write again']);
  return { messages: [{ role: 'user', content: `${ask}:${r.pick([' ', '\n'])}${text}` }, { role: 'assistant', content: text }] };
}

/* More requests about the same document, each answered before the next: more answers for what is read once. */
function furtherAsks(doc, values) {
  const r = values.random, asked = [], answers = [];
  for (let n = r.weigh([[3, 0], [3, 1], [2, 2], [1, 3]]); n > 0; n--) {
    const pairs = wanted(doc, values, false), keys = pairs.map(([k]) => k).join(', ');
    if (pairs.length === 0) continue;
    asked.push(r.pick([`And ${keys}?`, `Now ${keys}`, `The same for ${keys}`, `${keys}, please`, `Fields: ${keys}`, `Also ${keys} as JSON.`, keys, `${keys}?`, `Next: ${keys}`, `Then ${keys}.`, `What about ${keys}?`, `I also need ${keys}.`, `Give me ${keys} too.`]));
    answers.push(json(pairs));
  }
  return [asked, answers];
}

/* [key as asked for, value or null] for some of what is there and now and then for what is not. */
function wanted(doc, values, held) {
  const r = values.random;
  if (doc.kind === 'strange' && !held && r.chance(0.5)) return Object.entries(doc.found); // all of it in its order: practice, too
  const there = r.shuffle(Object.keys(doc.found)), style = r.weigh(styles);
  const out = there.slice(0, r.weigh([[held ? 0 : 0.4, 0], [2, 1], [4, 2], [4, 3], [3, 4], [1, 5], [1, 6]])).map((name) => [name, doc.found[name]]);
  const away = doc.kind === 'strange' ? [values.get('noun'), values.word()].filter((k) => !there.some((t) => t.includes(k)))
    : fields.filter((f) => f.kinds.includes(doc.kind) && !there.includes(f.name) && !there.some((t) => near(t, f.name))).map((f) => f.name);
  if ((out.length === 0 || r.chance(0.35)) && away.length) out.push([r.pick(away), null]);
  if (r.chance(0.12) && away.length) out.push([r.pick(away), null]);
  r.shuffle(out);
  const seen = new Set();
  return out.map(([name, value]) => [doc.kind === 'strange' ? name : style(r.pick(half(field[name].keys, held && r.chance(0.5)))), value])
    .filter(([key]) => !seen.has(key.toLowerCase()) && seen.add(key.toLowerCase()));
}

export const json = (pairs) => `{${pairs.map(([k, v]) => `${JSON.stringify(k)}: ${JSON.stringify(v)}`).join(', ')}}`;

/* The keys as a schema says them, in short or in full. */
const schemas = [
  (keys) => `{"type": "object", "properties": {${keys.map((k) => `${JSON.stringify(k)}: {"type": "string"}`).join(', ')}}}`,
  (keys) => json(keys.map((k) => [k, 'string'])),
  (keys) => `{${keys.map((k) => `${JSON.stringify(k)}: string | null`).join(', ')}}`,
  (keys) => `{"required": [${keys.map((k) => JSON.stringify(k)).join(', ')}]}`,
  (keys) => json(keys.map((k) => [k, '...'])),
];

/* A request begins with a capital, if not with a key. */
const first = (ask, keys) => (keys.some((k) => ask.startsWith(k)) || !/^[a-z]/.test(ask) ? ask : capital(ask));

/** `only`: the kind of document (form, mail, log, strange), or all. */
export function extractExample(values, held, only) {
  const r = values.random;
  const doc = only ? { form, mail, log, strange }[only](values, held) : r.weigh(held ? [[4, form], [5, mail], [4, log], [2, strange]] : [[4, form], [5, mail], [4, log], [5, strange]])(values, held);
  const pairs = wanted(doc, values, held);
  if (pairs.length === 0) return extractExample(values, held, only);
  const keys = pairs.map(([k]) => k);
  const joined = r.weigh([[6, () => keys.join(', ')], [2, () => (keys.length > 1 ? `${keys.slice(0, -1).join(', ')} and ${keys.at(-1)}` : keys[0])], [1, () => keys.map((k) => `"${k}"`).join(', ')], [1, () => `[${keys.map((k) => `"${k}"`).join(', ')}]`], ...(held ? [] : [[3, () => anyList(keys, r)], [1, () => keys.join(' and ')], [1, () => `\n${keys.map((k) => `- ${k}`).join('\n')}`], [1, () => `\n${keys.map((k, i) => `${i + 1}. ${k}`).join('\n')}`], [1, () => keys.map((k) => `\`${k}\``).join(', ')], [1, () => keys.map((k) => `${k} (${r.pick(['string', 'text', 'str', 'or null', 'optional'])})`).join(', ')], [1, () => keys.map((k) => `the ${k}`).join(', ')]])])();
  const empty = r.chance(0.5) ? '' : null;
  const words = {
    fields: joined, field: keys[0], what: doc.what, What: capital(doc.what), m: doc.text,
    template: json(keys.map((k) => [k, empty])), schema: r.pick(schemas)(keys),
  };
  const slot = (s) => words[s] ?? values.get(s);
  const befores = half(asks['extract before'], held).filter((b) => keys.length === 1 || !b.includes('{field}'));
  let ask = first(expand(r.pick(befores), r, slot), keys);
  if (!held && r.chance(doc.kind === 'strange' ? 0.2 : 0.4)) ask = disturbed(values, ask, ask.includes(joined) ? joined : ask.includes(words.template) ? words.template : ask.includes(words.schema) ? words.schema : words.field, 0.5);
  if (/: \{fields\}$/.test(ask) === false && r.chance(0.1) && ask.endsWith(joined)) ask = `${ask.slice(0, -joined.length)}\n${keys.map((k) => `- ${k}`).join('\n')}`;
  const end = r.chance(0.35) ? expand(r.pick(half(asks['extract end'], held)), r, slot) : '';
  let carriers = half(asks['sort carrier'], held);
  if (doc.text.includes('\n')) carriers = carriers.filter((c) => !c.includes('"{m}"') && !c.includes('>>>'));
  const [asked, answers] = held ? [[], []] : furtherAsks(doc, values);
  const carrier = !held && r.chance(0.2) ? anyCarrier(values) : r.pick(carriers);
  return arrange(values, ask, [expand(carrier, r, slot), ...asked], end, [json(pairs), ...answers], held);
}

/** A document alone, or a short message, for requests that want something else of it. */
export function extractText(values, held) {
  const r = values.random;
  return r.weigh([[2, () => form(values, held).text], [4, () => mail(values, held).text], [1, () => log(values, held).text], [4, () => anyMessage(values, held)]])();
}
