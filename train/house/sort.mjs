// Job (a): a short message, a list of labels, the one that fits.
import { readFileSync } from 'node:fs';
import { expand, half, list, sections } from './random.mjs';

const read = (name, keys) => sections(readFileSync(new URL(name, import.meta.url), 'utf8'), keys);
const topics = read('messages.txt', ['labels', 'about', 'not']).map((s) => {
  const [name, groups] = s.title.split(' / ');
  return { name, groups: groups.split(' '), labels: list(s.labels), about: list(s.about), not: list(s.not), lines: s.lines };
});
export const asks = Object.fromEntries(read('asks.txt').map((s) => [s.title, s.lines.map((l) => l.replaceAll('\\n', '\n'))]));
const groups = [...new Set(topics.flatMap((t) => t.groups))];
const clash = (a, b) => a.not.includes(b.name) || b.not.includes(a.name);

// What labels and messages are called where a group is sorted.
const kinds = {
  sentiment: ['sentiment', 'mood', 'opinion'], emotion: ['emotion', 'feeling'], priority: ['priority', 'urgency'],
  language: ['language'], news: ['topic', 'section', 'subject'], goods: ['category', 'department'],
};
const whats = {
  sentiment: ['review', 'comment', 'text', 'feedback', 'message'], emotion: ['text', 'message', 'sentence'], news: ['article', 'text', 'headline', 'sentence'],
  language: ['text', 'sentence', 'message'], goods: ['product', 'item', 'offer'], ops: ['log entry', 'alert', 'ticket', 'message'], dev: ['issue', 'ticket', 'report'],
  smart: ['command', 'request', 'utterance'], review: ['review', 'comment', 'sentence'], spamham: ['mail', 'message', 'e-mail', 'text'],
};
const anyKind = ['label', 'category', 'class', 'tag', 'topic', 'label', 'category', 'group', 'type'];
const anyWhat = ['message', 'text', 'e-mail', 'ticket', 'request', 'note', 'message', 'mail', 'inquiry'];
const plural = (w) => (w.endsWith('y') ? `${w.slice(0, -1)}ies` : w.endsWith('s') ? `${w}es` : `${w}s`);
const capital = (w) => w[0].toUpperCase() + w.slice(1);

const openers = { train: ['Hi, ', 'Hello, ', 'Dear team, ', 'Hey, ', 'Good morning, ', 'Hi {given}, ', 'Hello {company}, ', 'To whom it may concern: ', 'Dear Sir or Madam, '], held: ['Good evening, ', 'Dear {company}, ', 'Greetings, '] };
const closers = { train: [' Thanks', ' Thank you.', ' Regards, {name}', ' Best, {given}', ' Please help.', ' Please answer soon.', ' {name}, {company}', ' My number is {phone}.', ' Kind regards {name}'], held: [' Yours, {name}', ' Cheers, {given}', ' Write to {email}.'] };

function message(topic, values, held) {
  const r = values.random, slot = (s) => values.get(s), side = held ? 'held' : 'train';
  const lines = half(topic.lines, held);
  const bare = topic.groups.some((g) => ['language', 'goods', 'smart', 'ops', 'emotion', 'review'].includes(g));
  const picked = r.sample(lines, !bare && r.chance(0.25) ? 2 : 1).map((l) => expand(l, r, slot));
  let text = picked.map((s) => (r.chance(0.8) ? capital(s) : s)).join(r.pick(['. ', '. ', '! ']));
  if (r.chance(0.6)) text += /^(how|what|where|when|can|could|is|are|do|does|which|who|why|may|would)\b/i.test(picked.at(-1)) ? '?' : r.pick(['.', '.', '!']);
  if (!bare && r.chance(0.15)) text = expand(r.pick(openers[side]), r, slot) + text;
  if (!bare && r.chance(0.15)) text = `${text.replace(/[^.?!]$/, '$&.')}${expand(r.pick(closers[side]), r, slot)}`;
  return r.chance(0.06) ? text.toLowerCase() : text;
}

const cases = [
  [6, (l) => l], [4, capital], [2, (l) => l.split(' ').map(capital).join(' ')], [1, (l) => l.toUpperCase()],
  [1, (l) => l.toLowerCase().replaceAll(' ', '_')], [1, (l) => l.toUpperCase().replaceAll(' ', '_')], [1, (l) => l.toLowerCase().replaceAll(' ', '-')],
];

/* The forms of a list; `held` ones are only in the held-out half. */
const forms = {
  train: [[8, (l) => l.join(', ')], [3, (l) => `\n${l.map((x) => `- ${x}`).join('\n')}`], [1, (l) => `\n${l.join('\n')}`], [2, (l) => `\n${l.map((x, i) => `${i + 1}. ${x}`).join('\n')}`], [2, (l) => l.map((x) => `"${x}"`).join(', ')], [2, (l) => `[${l.map((x) => `"${x}"`).join(', ')}]`], [2, (l) => l.join(' / ')], [1, (l) => l.join(' | ')], [1, (l) => `[${l.join(', ')}]`], [1, (l) => l.join(',')]],
  held: [[3, (l) => l.join(', ')], [2, (l) => l.join('; ')], [2, (l) => `\n${l.map((x) => `* ${x}`).join('\n')}`], [1, (l) => l.map((x) => `'${x}'`).join(', ')], [1, (l) => `(${l.join(', ')})`]],
};
const orList = (l) => `${l.slice(0, -1).join(', ')} or ${l.at(-1)}`;

/* Labels that are names or things: the message tells which. Such labels are never seen before. */
function named(values, held) {
  const r = values.random;
  const [slot, kind, lines, heldLines] = r.pick([
    ['product', 'product', ['my {x} is broken', 'a question about the {x}', 'the new {x} is great', 'how much is the {x}', 'where is the {x} that I ordered', 'does the {x} come in blue', 'I love my {x}'], ['the {x} that came on {day} has a scratch', 'we sold another {x} today']],
    ['city', 'city', ['our flight to {x} was cancelled', 'I live in {x}', 'the office in {x} is closed', 'see you in {x} on {day}', 'the weather in {x} is bad', 'when does the train to {x} leave'], ['we moved to {x} last {month}', 'the fair in {x} starts on {day}']],
    ['name', 'person', ['please call {x}', '{x} asked for the report', 'the meeting with {x} is on {day}', 'give this to {x}', 'I spoke to {x} yesterday'], ['{x} will be late on {day}', 'a parcel for {x} has come']],
    ['company', 'customer', ['{x} has not paid yet', 'the contract with {x} ends in {month}', 'an order from {x} came in', '{x} wants a quote'], ['we visit {x} on {day}', '{x} has moved to {city}']],
    ['noun', 'topic', ['all about the {x}', 'I saw a {x} yesterday', 'a {x} is on the table', 'who left the {x} here', 'my {x} and me', 'they talked about the {x}'], ['there was a {x} behind the house', 'a poem on the {x}']],
    ['word', 'project', ['the {x} release is late', 'a bug in {x}', 'the budget of {x} was approved', '{x} starts on {day}', 'a new member joins {x}'], ['deadline of {x} moved to {month}', 'what is the state of {x}']],
  ]);
  const labels = [...new Set(Array.from({ length: r.between(2, 6) }, () => values.get(slot)))];
  const answer = r.pick(labels);
  const text = expand(r.pick(held ? heldLines : lines), r, (s) => (s === 'x' ? answer : values.get(s)));
  return { labels, answer, text: capital(text), kind, what: r.pick(['message', 'note', 'text', 'mail']), styled: false };
}

/* Labels by topic; some are described, some only by a mark that means nothing. */
function byTopic(values, held) {
  const r = values.random;
  const group = r.weigh(groups.map((g) => [Math.sqrt(topics.filter((t) => t.groups.includes(g)).length) * (g === 'support' ? 2 : 1), g]));
  const mates = topics.filter((t) => t.groups.includes(group));
  const topic = r.pick(mates);
  const others = r.shuffle(mates.filter((t) => t !== topic && !clash(t, topic)));
  const chosen = [topic];
  const most = r.weigh([[3, 2], [4, 3], [4, 4], [3, 5], [2, 6], [1, 7], [1, 8]]);
  for (const t of others) if (chosen.length < most && chosen.every((c) => !clash(c, t))) chosen.push(t);
  r.shuffle(chosen);
  const style = r.weigh(cases);
  const known = (t) => { const mine = half(t.labels, held); return style(held || r.chance(0.5) ? r.pick(mine) : mine[0]); };
  const mode = r.weigh([[12, 'plain'], [2, 'described'], [2, 'marked'], [1, 'lettered']]);
  const out = { text: message(topic, values, held), kind: r.pick(kinds[group] ?? anyKind), what: r.pick(whats[group] ?? anyWhat), styled: true };
  const says = (t) => expand(r.pick(t.about), r, (s) => values.get(s));
  if (mode === 'plain') return { ...out, labels: chosen.map(known), answer: null, at: chosen.indexOf(topic) };
  if (mode === 'lettered') {
    const marks = r.chance(0.5) ? 'ABCDEFGH' : '12345678';
    const sign = r.pick([': ', ') ', '. ', ' = ']);
    return { ...out, labels: chosen.map((t, i) => `${marks[i]}${sign}${known(t)}`), answer: marks[chosen.indexOf(topic)], end: r.pick(marks === 'ABCDEFGH' ? ['Answer with the letter.', 'Only the letter.', 'Give the letter only.'] : ['Answer with the number.', 'Only the number.', 'Give the number only.']) };
  }
  const marks = chosen.map((t) => (mode === 'described' ? known(t) : r.pick([() => values.word(), () => capital(values.word()), () => `${values.letters(1)}${values.random.between(1, 9)}`, () => `queue-${values.digits(2)}`])()));
  const sign = r.pick([': ', ': ', ' - ', ' = ', ' (']);
  return { ...out, labels: chosen.map((t, i) => `${marks[i]}${sign}${says(t)}${sign === ' (' ? ')' : ''}`), answer: marks[chosen.indexOf(topic)], lines: true };
}

export function sortExample(values, held) {
  const r = values.random, side = held ? 'held' : 'train';
  const job = r.chance(0.14) ? named(values, held) : byTopic(values, held);
  const answer = job.answer ?? job.labels[job.at];
  const form = job.lines || (job.end && r.chance(0.5)) ? (l) => `\n${l.map((x) => `- ${x}`).join('\n')}` : r.weigh(forms[side]);
  const labels = form(job.labels);
  const words = {
    labels, or: orList(job.labels), kind: job.kind, kinds: plural(job.kind), Kind: capital(job.kind), Kinds: capital(plural(job.kind)),
    what: job.what, What: capital(job.what), m: job.text,
  };
  const slot = (s) => words[s] ?? values.get(s);
  let befores = half(asks['sort before'], held);
  if (job.lines || job.end) befores = befores.filter((b) => /\{labels\}$/.test(b));
  let ask = expand(r.pick(befores), r, slot);
  if (labels.startsWith('\n') === false && r.chance(0.5) && !/[.?!]$/.test(ask)) ask += '.';
  const end = job.end ?? (r.chance(0.45) ? expand(r.pick(half(asks['sort end'], held)), r, slot) : '');
  const carrier = expand(r.pick(half(asks['sort carrier'], held)), r, slot);
  return arrange(r, ask, carrier, end, answer, held);
}

/** Puts request, text and closing words together in one of the usual orders, with or without a system message. */
export function arrange(r, ask, carrier, end, answer, held) {
  const gap = r.pick(['\n\n', '\n', '\n\n', ' ']);
  const wide = ask.includes('\n') || gap === ' ' && carrier.includes('\n') ? '\n\n' : gap;
  const closes = end.endsWith(':');
  const block = ask.includes('\n- ') || ask.includes('\n1') || ask.includes('\n* ') || /\n\S.*\n/.test(ask);
  const tail = end && !closes ? `${block ? '\n' : ' '}${end}` : '';
  const messages = [];
  const shape = r.weigh([[6, 'before'], [3, 'after'], [3, 'system']]);
  if (shape === 'system') {
    messages.push({ role: 'system', content: ask + tail });
    messages.push({ role: 'user', content: carrier + (closes ? `\n${end}` : '') });
  } else {
    if (r.chance(0.15)) messages.push({ role: 'system', content: expand(r.pick(half(asks.system, held)), r, () => '') });
    const content = shape === 'before' ? `${ask}${tail}${wide}${carrier}` : `${carrier}${wide === ' ' ? '\n' : wide}${ask}${tail}`;
    messages.push({ role: 'user', content: content + (closes ? `\n${end}` : '') });
  }
  messages.push({ role: 'assistant', content: answer });
  return { messages };
}

/** A message about anything. */
export const anyMessage = (values, held) => message(values.random.pick(topics), values, held);
