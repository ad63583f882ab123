// Job (a): a short message, a list of labels, the one that fits.
import { readFileSync } from 'node:fs';
import { expand, half, isHeld, list, sections } from './random.mjs';

const read = (name, keys) => sections(readFileSync(new URL(name, import.meta.url), 'utf8'), keys);
const topics = read('messages.txt', ['labels', 'about', 'not', 'words']).map((s) => {
  const [name, groups] = s.title.split(' / ');
  return { name, groups: groups.split(' '), labels: list(s.labels), about: list(s.about), not: list(s.not), words: list(s.words), wordSet: new Set(list(s.words)), lines: s.lines };
});
export const asks = Object.fromEntries(read('asks.txt').map((s) => [s.title, s.lines.map((l) => l.replaceAll('\\n', '\n'))]));
const groups = [...new Set(topics.flatMap((t) => t.groups))];
const clash = (a, b) => a.not.includes(b.name) || b.not.includes(a.name);

// What labels and messages are called where a group is sorted.
const kinds = {
  sentiment: ['sentiment', 'mood', 'opinion'], emotion: ['emotion', 'feeling'], priority: ['priority', 'urgency'], severity: ['severity', 'severity level', 'priority'], stance: ['stance', 'position', 'opinion'], botact: ['intent', 'action'], calendar: ['intent', 'command', 'action'],
  language: ['language'], news: ['topic', 'section', 'subject'], goods: ['category', 'department'],
  doctype: ['document type', 'kind', 'type', 'class'], spending: ['category', 'budget', 'kind'], filmgenre: ['genre', 'category'], musicgenre: ['genre', 'style'], profession: ['job', 'occupation', 'profession'], sportkind: ['sport', 'discipline'], occasion: ['occasion', 'event'],
  weatherkind: ['weather', 'condition'], flora: ['kind', 'group', 'class'], material: ['material'], rooms: ['room', 'place'], asktype: ['question type', 'answer type', 'type'], claimtype: ['type', 'kind'], level: ['level', 'skill level'], waste: ['bin', 'kind of waste', 'category'], pets: ['animal', 'pet'], lawarea: ['area of law', 'field', 'department'], emergency: ['kind of emergency', 'service', 'category'],
  toneof: ['tone', 'style'], textkind: ['kind of text', 'type', 'genre'], speechact: ['type', 'intent', 'kind'], hurry: ['urgency', 'priority'], stars: ['rating', 'number of stars', 'score'], moodof: ['mood', 'feeling'], loglines: ['event', 'kind', 'category'],
  doctype2: ['document type', 'kind', 'type', 'class'], spending2: ['category', 'kind', 'budget'], expensekind: ['expense', 'category', 'kind'], botintent: ['intent', 'action'], duedate: ['deadline', 'urgency', 'due date'],
};
const whats = {
  sentiment: ['review', 'comment', 'text', 'feedback', 'message'], emotion: ['text', 'message', 'sentence'], news: ['article', 'text', 'headline', 'sentence'],
  language: ['text', 'sentence', 'message'], goods: ['product', 'item', 'offer'], ops: ['log entry', 'alert', 'ticket', 'message'], dev: ['issue', 'ticket', 'report'],
  smart: ['command', 'request', 'utterance'], calendar: ['command', 'request', 'utterance'], botact: ['utterance', 'message', 'reply'], aspects: ['review', 'comment', 'sentence'], feedback: ['feedback', 'review', 'comment'], severity: ['incident', 'ticket', 'alert'], itsmtype: ['ticket', 'call', 'record'], stance: ['comment', 'statement', 'reply'], scamkind: ['mail', 'message', 'text'], review: ['review', 'comment', 'sentence'], spamham: ['mail', 'message', 'e-mail', 'text'],
  doctype: ['document', 'text', 'excerpt', 'page'], spending: ['transaction', 'entry', 'booking', 'payment'], filmgenre: ['film', 'plot', 'review', 'description'], musicgenre: ['review', 'text', 'description'], profession: ['sentence', 'text', 'statement'], sportkind: ['report', 'headline', 'sentence', 'text'], weatherkind: ['sentence', 'report', 'text'], flora: ['sentence', 'text', 'description'],
  material: ['sentence', 'description', 'thing'], rooms: ['sentence', 'description', 'text'], asktype: ['question'], claimtype: ['sentence', 'statement', 'text'], waste: ['item', 'thing', 'object'], emergency: ['call', 'message', 'report'], mailaction: ['mail', 'e-mail', 'message'], board: ['post', 'notice', 'entry'], symptom: ['complaint', 'patient message', 'note'],
  toneof: ['text', 'mail', 'sentence'], textkind: ['text', 'excerpt', 'passage'], stars: ['review', 'comment', 'text'], moodof: ['text', 'message', 'sentence'], speechact: ['sentence', 'message', 'utterance'], loglines: ['log line', 'log entry', 'line', 'event'], botintent: ['utterance', 'message', 'reply'],
  doctype2: ['document', 'text', 'excerpt', 'page'], spending2: ['transaction', 'entry', 'booking', 'payment'], expensekind: ['expense', 'receipt', 'entry'], clausekind: ['clause', 'paragraph', 'section'], diyshop: ['product', 'item', 'article'], leavereason: ['survey answer', 'comment', 'reply'], storefeedback: ['survey answer', 'comment', 'feedback'],
};
const anyKind = ['label', 'category', 'class', 'tag', 'topic', 'label', 'category', 'group', 'type'];
const anyWhat = ['message', 'text', 'e-mail', 'ticket', 'request', 'note', 'message', 'mail', 'inquiry'];
export const plural = (w) => (/[^aeiou]y$/.test(w) ? `${w.slice(0, -1)}ies` : /(s|x|z|ch|sh)$/.test(w) ? `${w}es` : `${w}s`);
export const capital = (w) => w[0].toUpperCase() + w.slice(1);

const openers = { train: ['Hi team, ', 'Hello everybody, ', 'Hello again, ', 'Sorry to bother you: ', 'Good afternoon, ', 'Dear {given}, ', 'Dear Mr {family}, ', 'Hi all, ', 'Good day, ', 'FYI: ', 'Re: ', 'Fwd: ', 'Subject: ', 'Urgent: ', 'One question: ', 'As I said: ', 'Hi, ', 'Hello, ', 'Dear team, ', 'Hey, ', 'Good morning, ', 'Hi {given}, ', 'Hello {company}, ', 'To whom it may concern: ', 'Dear Sir or Madam, '], held: ['Good evening, ', 'Dear {company}, ', 'Greetings, '] };
const closers = { train: [' Many thanks.', ' Thanks in advance.', ' Best regards.', ' Sent from my phone.', ' Greetings from {city}.', ' Sincerely, {name}', ' What now?', ' It is urgent.', ' Let me know.', ' Call me at {phone}.', ' Bye, {given}', ' - {name}', ' Thanks', ' Thank you.', ' Regards, {name}', ' Best, {given}', ' Please help.', ' Please answer soon.', ' {name}, {company}', ' My number is {phone}.', ' Kind regards {name}'], held: [' Yours, {name}', ' Cheers, {given}', ' Write to {email}.'] };

/* Messages of a topic's words {w} and {v} and nothing else, so that it is the words that tell. Some groups are told by how
 * something is said, not by what it is about. */
export const frames = {
  about: ['a question about {w}', 'I have a problem with {w}', 'it is about {w} and {v}', '{w}', '{w}, {v}', 'please tell me more about {w}', 'news about {w} and {v}', 'I would like to talk about {w}', 'there is something wrong with the {w}', 'the {w} and the {v}', 'we need {w}', 'my {w}', '{w} again', 'can you help me with {w}', 'looking for {w} or {v}', 'what about {w}', '{name} wrote about {w}', 'on {day}: {w}, {v}', '{w} in {city}', 'this is about {w}', 'regarding {w}', 'concerning {w}: who can help', '{w} does not work', 'is there anything new on {w}', 'who knows about {w}', 'who is responsible for {w}', 'we have trouble with {w} and with {v}', 'I need help, {w}', 'the topic is {w}', 'an update on {w} and {v}', 'they told me about {w}', 'what do you know about {w}', '{w} or {v}, I do not know', 'I want {w}', 'we talked about {w} on {day}', 'everything about {w}', '{w} and {w}', 'my question is about {w}', 'something with {w}, maybe {v}', '{name} asks for {w}', 'please see to the {w}', 'there was talk of {w}', 'how is it with {w}', 'more {w}, less {v}', '{w}: {v}', 'read this: {w}, {v}', 'never mind the rest, it is {w}', 'hello, {w} please', 'a word on {w}', 'no {w} since {day}', 'the {w} is late', '{w} for {name}', '*something on {w}', '*this concerns {w}, also {v}', '*I write because of {w}'],
  said: ['I say {w}', '{w} and {v}', 'ok, {w}', '{name}, {w}', '{w}! {v}!', 'as I said, {w}', '{w} or {v}', 'listen: {w}', 'today {w}', '{v}, really {w}', '{w}', '{w}, {v}', '{w}. {v}', 'well, {w}', '{w}, {name}', 'so: {w}', '{w} {w}', '*{v} ... {w}', '*oh, {w}'],
  felt: ['it is {w}', 'we are {w}', 'how {w}', 'all in all {w}', 'quite {w}, quite {v}', '{w}! {v}!', 'I find it {w}', 'they were {w}', '{w} from start to end', 'this makes me {w}', 'for me it was {w}', 'my day: {w}', '{w} about the {product}', '{w}', '{w}, {v}', 'really {w}', 'it was {w} and {v}', 'the {product}: {w}', 'so {w}', '{w}, what can I say', 'I am {w}', '*simply {w}', '*{w} all day'],
};
const said = ['priority', 'chat', 'answer', 'intent', 'time', 'form', 'register', 'spamham', 'calendar', 'severity', 'botact', 'stance', 'scamkind', 'asktype', 'claimtype', 'level', 'mailaction', 'botintent', 'salesreply', 'workchat', 'notekind', 'loglines', 'duedate', 'toneof', 'textkind', 'verity', 'speechact', 'hurry'];
const felt = ['sentiment', 'emotion', 'stars', 'moodof'];
const frameOf = (group) => frames[said.includes(group) ? 'said' : felt.includes(group) ? 'felt' : 'about'];
/* Are its words names for it, too? */
const named_by_words = (group) => ![...said, ...felt, 'language', 'privacy', 'review'].includes(group);

/* Words of the topic that none of the others has as well. */
const ownWords = (topic, others) => topic.words.filter((w) => !others.some((t) => t !== topic && t.wordSet.has(w)));

/* Some of a topic's words; often the label is among them: who has learned to find a word that is there twice finds one
 * that is there in another form. */
const someWords = (topic, others, label, values) => {
  const r = values.random, words = r.sample(ownWords(topic, others), r.between(1, 3));
  if (words.length === 0) return message(topic, values, false, undefined, others);
  if (r.chance(0.4)) words[r.below(words.length)] = label;
  return words.join(r.pick([' ', ', ']));
};

/* Things and sayings that nobody would send with a greeting. */
const alone = ['doctype', 'spending', 'filmgenre', 'musicgenre', 'profession', 'sportkind', 'weatherkind', 'flora', 'material', 'rooms', 'asktype', 'claimtype', 'level', 'waste', 'pets', 'emergency', 'symptom'];

function message(topic, values, held, group, others = []) {
  const r = values.random, side = held ? 'held' : 'train', words = ownWords(topic, others);
  const framed = words.length > 1 && (topic.lines.length === 0 || r.chance(0.45));
  const slot = (s) => (s === 'w' || s === 'v' ? r.pick(words) : values.get(s));
  const lines = half(framed ? frameOf(group ?? topic.groups[0]) : topic.lines, held);
  const bare = topic.groups.some((g) => ['language', 'goods', 'smart', 'ops', 'emotion', 'review', 'calendar', 'botact', 'aspects', 'severity', 'stance', ...alone].includes(g));
  const picked = r.sample(lines, !bare && r.chance(0.25) ? 2 : 1).map((l) => expand(l, r, slot));
  let text = picked.map((s) => (r.chance(0.8) ? capital(s) : s)).join(r.pick(['. ', '. ', '! ']));
  if (r.chance(0.6)) text += /^(how|what|where|when|can|could|is|are|do|does|which|who|why|may|would)\b/i.test(picked.at(-1)) ? '?' : r.pick(['.', '.', '!']);
  if (!bare && r.chance(0.15)) text = expand(r.pick(openers[side]), r, slot) + text;
  if (!bare && r.chance(0.15)) text = `${text.replace(/[^.?!]$/, '$&.')}${expand(r.pick(closers[side]), r, slot)}`;
  return r.chance(0.06) ? text.toLowerCase() : text;
}

export const cases = [
  [6, (l) => l], [4, capital], [2, (l) => l.split(' ').map(capital).join(' ')], [1, (l) => l.toUpperCase()],
  [1, (l) => l.toLowerCase().replaceAll(' ', '_')], [1, (l) => l.toUpperCase().replaceAll(' ', '_')], [1, (l) => l.toLowerCase().replaceAll(' ', '-')], [1, (l) => l.split(' ').map(capital).join('')],
];

/* The forms of a list; `held` ones are only in the held-out half. */
const forms = {
  train: [[8, (l) => l.join(', ')], [3, (l) => `\n${l.map((x) => `- ${x}`).join('\n')}`], [1, (l) => `\n${l.join('\n')}`], [2, (l) => `\n${l.map((x, i) => `${i + 1}. ${x}`).join('\n')}`], [2, (l) => l.map((x) => `"${x}"`).join(', ')], [2, (l) => `[${l.map((x) => `"${x}"`).join(', ')}]`], [2, (l) => l.join(' / ')], [1, (l) => l.join(' | ')], [1, (l) => `[${l.join(', ')}]`], [1, (l) => l.join(',')], [2, (l) => `${l.slice(0, -1).join(', ')} and ${l.at(-1)}`], [1, (l) => `${l.slice(0, -1).join(', ')}, or ${l.at(-1)}`], [1, (l) => `{${l.join(', ')}}`], [1, (l) => l.map((x) => `\`${x}\``).join(', ')], [1, (l) => l.map((x, i) => `${i + 1}) ${x}`).join(' ')], [1, (l) => `\n${l.map((x) => `${x};`).join('\n')}`], [8, anyList]],
  held: [[3, (l) => l.join(', ')], [2, (l) => l.join('; ')], [2, (l) => `\n${l.map((x) => `* ${x}`).join('\n')}`], [1, (l) => l.map((x) => `'${x}'`).join(', ')], [1, (l) => `(${l.join(', ')})`]],
};

/* A list as nobody foresaw it: any sign between its entries, any around them. What a list is must be seen, not remembered. */
const joints = [', ', ' ~ ', ' // ', ' & ', ' + ', ' :: ', '\t', ' or ', ' and ', ' - ', ' > ', ' · ', ' = ', ' ,', '\n', '\n\n', ' — ', '. ', ' <> ', ' .. '];
const signs = ['a x', 'an x', 'the x', '‘x’', '„x“', "''x''", 'x?', '`x`', '<x>', '{x}', '#x', '~x', '«x»', '+ x', '> x', '• x', '-> x', '@x', '_x_', '**x**', '$x', '=x=', 'x)', 'x:', '/x/', '|x|', '“x”', '<<x>>', '[x]', '%x', 'x!', '(x)'];
const around_all = ['x', 'x', 'x', 'x', '[x]', '{x}', '<x>', '"x"', '[[x]]', '«x»', ': x', '\nx\n'];
export function anyList(entries, r) {
  const sign = r.chance(0.6) ? r.pick(signs) : 'x', joint = r.pick(joints);
  return r.pick(around_all).replace('x', () => entries.map((e) => sign.replace('x', () => e)).join(joint));
}
const orList = (l) => `${l.slice(0, -1).join(', ')} or ${l.at(-1)}`;

/* How often a label counts: beside answers of a hundred tokens those of two would teach nothing. */
const LABEL = 8;

/* A list of labels and a message for one of them, drawn anew each time:
 *   { labels, kind, what, lines?, end?, most?, draw() -> { text, answer } }; `most`: messages that it has */

/* Words of any kind around {x}, so that it is found wherever it stands: of a few dozen sentences it would learn the places. */
const glue = 'the a is was are in of on with has have please and not we I they my our your new about for to from at by this that it will be more one said all now again when how can do after before me you he she two'.split(' ');
/** Words of any kind, `n` of them. */
export const anyWords = (values, n) => {
  const r = values.random;
  return Array.from({ length: n }, () => r.weigh([[14, () => r.pick(glue)], [3, () => values.get('noun')], [1, () => values.word()], [3, () => r.pick(r.pick(topics).words.concat('thing'))]])());
};
function around(x, values) {
  const r = values.random, words = anyWords(values, r.between(1, 9));
  words.splice(r.below(words.length + 1), 0, x);
  return words.join(' ') + r.pick(['', '', '.', '?', '!']);
}

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
  const get = slot === 'word' && r.chance(0.5) ? () => (r.chance(0.5) ? values.phrase(1, 3) : values.title()) : () => values.get(slot);
  const labels = [...new Set(Array.from({ length: r.between(2, 6) }, get))].filter((l, _, all) => !all.some((o) => o !== l && o.includes(l)));
  const draw = () => {
    const answer = r.pick(labels);
    if (!held && r.chance(0.6)) return { answer, text: r.chance(0.5) ? capital(around(answer, values)) : around(answer, values) };
    return { answer, text: capital(expand(r.pick(held ? heldLines : lines), r, (s) => (s === 'x' ? answer : values.get(s)))) };
  };
  return { labels, kind, what: r.pick(['message', 'note', 'text', 'mail']), draw };
}

/* What is sorted most. */
const often = { support: 4, sentiment: 2.5, news: 2.5, dev: 2.5, priority: 2, spamham: 2, language: 1.8, intent: 2, it: 2, office: 2 };
const ofGroup = Object.fromEntries(groups.map((g) => [g, topics.filter((t) => t.groups.includes(g))]));
const weighedGroups = groups.map((g) => [Math.sqrt(ofGroup[g].length) * (often[g] ?? 1), g]);

/* Labels of more words than one. */
const ends = ['issue', 'question', 'problem', 'request', 'department', 'team', 'help', 'matters', 'support', 'desk', 'related', 'topics', 'news', 'inquiry', 'stuff', 'and more', 'services', 'office', 'case', 'group'];
const longer = [
  (l, _w) => `${l} ${ends[l.length % ends.length]}`, (l, w) => `${l} ${ends[w.length % ends.length]}`, (l, w) => (w === l ? l : `${l} and ${w}`), (l, w) => (w === l ? l : `${l} & ${w}`),
  (l, w) => (w === l ? l : `${l}/${w}`), (l, w) => `${['about', 'all', 'general', 'other', 'new', 'any', 'my', 'the'][w.length % 8]} ${l}`, (l, w) => (w === l ? `${l} in general` : `${l}: ${w}`), (l, w) => (w === l ? l : `${w} ${l}`),
];

/* Labels by topic; some are described, some only by a mark that means nothing. */
function byTopic(values, held, bare = false) {
  const r = values.random;
  const group = r.weigh(weighedGroups);
  const chosen = [];
  const most = r.weigh([[3, 2], [4, 3], [4, 4], [3, 5], [2, 6], [1, 7], [1, 8]]);
  for (const t of r.sample(ofGroup[group], ofGroup[group].length)) if (chosen.length < most && half(t.labels, held).length && chosen.every((c) => !clash(c, t))) chosen.push(t);
  if (chosen.length < 2) return byTopic(values, held, bare); // hardly any label here is of this half
  const style = r.weigh(cases);
  const byWord = named_by_words(group) ? r.weigh([[4, 0], [3, 0.4], [2, 1]]) : 0;
  const mixed = !held && named_by_words(group) && r.chance(0.35); // some of two or three words beside others of one, that share a word: the whole label is the answer
  const known = (t) => {
    const mine = half(t.labels, held), words = byWord || mixed ? ownWords(t, chosen).filter((w) => w.split(' ').length < 3 && isHeld(w) === held) : [];
    if (words.length && r.chance(byWord)) return style(`${r.pick(words)}${r.chance(0.2) ? r.pick([' issue', ' question', ' problem', ' request', ' department', ' team', ' help']) : ''}`);
    const label = held || r.chance(0.5) ? r.pick(mine) : mine[0];
    if (mixed && r.chance(0.6) && !label.includes(' ')) return style(r.pick(longer)(label, words.length ? r.pick(words) : label));
    return style(label);
  };
  const mode = bare ? 'plain' : r.weigh([[12, 'plain'], [2, 'described'], [2, 'marked'], [1, 'lettered']]);
  const asked = (labels, answers, more) => ({
    labels, kind: r.pick(kinds[group] ?? anyKind), what: r.pick(whats[group] ?? anyWhat), ...more,
    draw: () => { const i = r.below(chosen.length); return { answer: answers[i], text: bare ? someWords(chosen[i], chosen, answers[i], values) : message(chosen[i], values, held, group, chosen) }; },
  });
  const says = (t) => (t.about.length && (t.words.length < 3 || r.chance(0.5)) ? expand(r.pick(t.about), r, (s) => values.get(s)) : r.sample(t.words, 3).join(', '));
  if (mode === 'plain' || chosen.some((t) => t.about.length + t.words.length === 0)) {
    const labels = chosen.map(known);
    if (new Set(labels).size < labels.length) return byTopic(values, held, bare);
    return asked(labels, labels);
  }
  if (mode === 'lettered') {
    const marks = r.chance(0.5) ? 'ABCDEFGH' : '12345678';
    const sign = r.pick([': ', ') ', '. ', ' = ']);
    return asked(chosen.map((t, i) => `${marks[i]}${sign}${known(t)}`), [...marks], { end: r.pick(marks === 'ABCDEFGH' ? ['Answer with the letter.', 'Only the letter.', 'Give the letter only.'] : ['Answer with the number.', 'Only the number.', 'Give the number only.']) });
  }
  const marks = chosen.map((t) => (mode === 'described' ? known(t) : r.pick([() => values.word(), () => capital(values.word()), () => `${values.letters(1)}${values.random.between(1, 9)}`, () => `queue-${values.digits(2)}`])()));
  const sign = r.pick([': ', ': ', ' - ', ' = ', ' (']);
  return asked(chosen.map((t, i) => `${marks[i]}${sign}${says(t)}${sign === ' (' ? ')' : ''}`), marks, { lines: true });
}

/** What a text may stand in, as nobody foresaw it: words before it, a sign between, or marks on both sides. */
const marks = [['<<', '>>'], ['[[', ']]'], ['((', '))'], ['{', '}'], ['*', '*'], ['~~~\n', '\n~~~'], ['|', '|'], ['--\n', '\n--'], ['“', '”'], ['===\n', '\n==='], ['/* ', ' */'], ['> ', ''], ['#', '#'], ['-> ', ''], ['$', '$'], ['', ' .']];
export function anyCarrier(values) {
  const r = values.random, before = capital(anyWords(values, r.between(1, 4)).join(' '));
  if (r.chance(0.35)) {
    const [open, close] = r.pick(marks);
    return `${r.chance(0.5) ? `${before}${r.pick([' ', '\n', ': '])}` : ''}${open}{m}${close}`.replaceAll('((', '\\(\\(').replaceAll('))', '\\)\\)').replace(/\{(?!m\})/, '\\{').replaceAll('|', '\\|');
  }
  return before + r.pick([': {m}', ':\n{m}', ' - {m}', '\n\n{m}', ': "{m}"', '.\n{m}', ' >> {m}', ' = {m}', '; {m}', '. {m}']);
}

/** `only`: 'named' or 'topic', or of both kinds. */
export function sortExample(values, held, only) {
  const r = values.random;
  return sorted(values, held, (only ? only === 'named' : r.chance(0.14)) ? named(values, held) : byTopic(values, held));
}

/** The conversation that a job makes: a list and a message for one of its labels, or several, under one request. */
export function sorted(values, held, job) {
  const r = values.random, side = held ? 'held' : 'train';
  const turns = Array.from({ length: !held && r.chance(0.6) ? Math.min(r.between(2, 10), job.most ?? 10) : 1 }, job.draw);
  const form = job.lines || (job.end && r.chance(0.5)) ? (l) => `\n${l.map((x) => `- ${x}`).join('\n')}` : r.weigh(forms[side]);
  const labels = form(job.labels, r);
  const words = {
    labels, n: job.labels.length, or: orList(job.labels), kind: job.kind, kinds: plural(job.kind), Kind: capital(job.kind), Kinds: capital(plural(job.kind)),
    what: job.what, What: capital(job.what),
  };
  const slot = (s) => words[s] ?? values.get(s);
  let befores = half(asks['sort before'], held);
  if (job.lines || job.end) befores = befores.filter((b) => /\{labels\}$/.test(b));
  let ask = expand(r.pick(befores), r, slot);
  if (/^[a-z]/.test(ask) && !ask.startsWith(labels) && !ask.startsWith(words.or)) ask = capital(ask);
  if (!held && r.chance(0.4)) ask = disturbed(values, ask, ask.includes(labels) ? labels : words.or);
  if (labels.startsWith('\n') === false && r.chance(0.5) && !/[.?!]$/.test(ask)) ask += '.';
  let end = job.end ?? (r.chance(0.45) ? expand(r.pick(half(asks['sort end'], held)), r, slot) : '');
  if (!held && !job.end && r.chance(0.25)) end = disturbed(values, end, end.includes(labels) ? labels : '');
  // Some of them answered already, as examples.
  if (!held && !job.end && r.chance(0.1)) ask += shots(job, words, r);
  const carrier = !held && r.chance(0.2) ? anyCarrier(values) : r.pick(half(asks['sort carrier'], held));
  return arrange(values, ask, turns.map((t) => expand(carrier, r, (s) => (s === 'm' ? t.text : slot(s)))), end, turns.map((t) => t.answer), held, LABEL);
}

/* Messages with their labels, as examples in a request. */
function shots(job, words, r) {
  const [before, between] = r.pick([[`${words.What}: `, `\n${words.Kind}: `], ['', ' -> '], ['', ' => '], ['Input: ', '\nOutput: '], ['"', '" is '], ['- ', ': '], ['Text: ', '\nLabel: '], ['Q: ', '\nA: ']]);
  return `\n${r.pick(['', 'Examples:\n', 'Example:\n', 'For instance:\n', 'Done already:\n'])}${Array.from({ length: r.between(1, 3) }, job.draw).map((t) => `${before}${t.text}${between}${t.answer}`).join('\n')}\n`;
}

/** Single words and the labels they belong to, one short turn after the other: what the words mean, learned where hardly
 * anything else is to be read. The labels come in any form, at the head or with each word. */
export const wordsExample = (values) => shortTurns(values, byTopic(values, false, true));

export function shortTurns(values, { labels, most = 16, draw }) {
  const r = values.random;
  const form = r.weigh(forms.train), list = (l) => form(l, r), sign = r.pick([': ', '\n', '\n\n', ' - ', ' ']), before = r.chance(0.5);
  const every = r.chance(0.4), lead = r.pick(['', '', 'Labels: ', 'Choose: ', 'One of: ']);
  const messages = [], turns = Array.from({ length: Math.min(r.between(4, 16), most) }, draw);
  if (!every) messages.push({ role: 'system', content: lead + list(labels) });
  for (const { text, answer } of turns) {
    if (size(messages) > LONG) break;
    const shown = r.shuffle([...labels]);
    const content = !every ? text : before ? `${lead}${list(shown)}${sign}${text}` : `${text}${sign}${lead}${list(shown)}`;
    messages.push({ role: 'user', content }, { role: 'assistant', content: answer, weight: LABEL });
  }
  return { messages };
}

/** A text in which words were put, left out or replaced, few or all of them: what people say in ways that nobody foresaw. Then it
 * is by its form that a request is known: a list, a text. Its list, `kept`, is left alone. */
export function disturbed(values, text, kept, most = 1) {
  const r = values.random, at = text.indexOf(kept);
  if (at < 0) return text;
  const level = Math.min(most, r.weigh([[6, 0.03], [5, 0.1], [4, 0.25], [2, 0.5], [2, 1]]));
  const other = (part) => part.replace(/(^| )([A-Za-z]{2,})(?=[ ,.?:]|$)/g, (all, gap, word) =>
    (!r.chance(level) ? all : r.pick([() => `${gap}${anyWords(values, 1)}`, () => `${gap}${anyWords(values, 1)}`, () => gap.trim(), () => `${gap}${word} ${anyWords(values, 1)}`])()));
  return other(text.slice(0, at)) + kept + other(text.slice(at + kept.length));
}

/* Letters that a conversation may have before it ends: a longer one might not go into the context. */
const LONG = 1000;
const size = (messages) => messages.reduce((sum, m) => sum + m.content.length, 0);

/** What a system message says that asks for nothing. */
export function system(values, held) {
  const r = values.random;
  return !held && r.chance(0.2) ? `${capital(anyWords(values, r.between(2, 9)).join(' '))}.` : expand(r.pick(half(asks.system, held)), r, () => '');
}

/** Puts request, texts and closing words together in one of the usual orders, with or without a system message. Of more than
 * one text the others follow by themselves, each after the answer to the one before: many answers, and few words to read. */
export function arrange(values, ask, carriers, end, answers, held, weight = 1) {
  const r = values.random, [carrier, ...more] = carriers;
  const gap = r.pick(['\n\n', '\n', '\n\n', ' ']);
  const wide = ask.includes('\n') || gap === ' ' && carrier.includes('\n') ? '\n\n' : gap;
  const closes = end.endsWith(':');
  const block = ask.includes('\n- ') || ask.includes('\n1') || ask.includes('\n* ') || /\n\S.*\n/.test(ask);
  const tail = end && !closes ? `${block ? '\n' : ' '}${end}` : '';
  const tailed = closes ? `\n${end}` : '';
  const messages = [];
  const shape = r.weigh([[6, 'before'], [more.length ? 0 : 3, 'after'], [3, 'system']]);
  if (shape === 'system') {
    messages.push({ role: 'system', content: ask + tail });
    messages.push({ role: 'user', content: carrier + tailed });
  } else {
    if (r.chance(0.15)) messages.push({ role: 'system', content: system(values, held) });
    const content = shape === 'before' ? `${ask}${tail}${wide}${carrier}` : `${carrier}${wide === ' ' ? '\n' : wide}${ask}${tail}`;
    messages.push({ role: 'user', content: content + tailed });
  }
  const told = (content) => ({ role: 'assistant', content, ...(weight > 1 && { weight }) });
  messages.push(told(answers[0]));
  for (let i = 0; i < more.length && size(messages) < LONG; i++) {
    messages.push({ role: 'user', content: more[i] + tailed }, told(answers[i + 1]));
  }
  return { messages };
}

const written = (label) => label.toLowerCase().replace(/[_-]/g, ' ').replace(/s$/, '');
const heldLabels = new Set(topics.flatMap((t) => half(t.labels, true)).map(written));
/** A label that only the held-out half may offer. */
export const isHeldLabel = (label) => heldLabels.has(written(label)) || isHeld(label);

/** A message about anything. */
export const anyMessage = (values, held) => message(values.random.pick(topics), values, held);
