// Jobs (c) and (d): questions about Weir, and everything else, which is declined.
import { readFileSync } from 'node:fs';
import { expand, half, isHeld, sections } from './random.mjs';
import { anyMessage, anyWords, system } from './sort.mjs';
import { extractText } from './extract.mjs';

const read = (name, keys) => sections(readFileSync(new URL(name, import.meta.url), 'utf8'), keys);
export const facts = read('weir.txt', ['a', 'must']);
const elsewhere = Object.fromEntries(read('elsewhere.txt').map((s) => [s.title, s.lines]));
const slots = Object.fromEntries(Object.entries(elsewhere).filter(([, lines]) => lines.length === 1).map(([k, [l]]) => [k, l.split(', ')]));
export const decline = 'That is beyond me: I am a small model. Add a bigger one with build/weir pull hf.co/OWNER/REPO:Q4_K_M';

const capital = (w) => w[0].toUpperCase() + w.slice(1);
const wrap = { train: ['', '', '', '', '', 'Please: ', 'Hi! ', 'Hello, ', 'Hey, ', 'Question: ', 'Quick question: ', 'please ', 'Hi there, ', 'Good morning, ', 'Sorry, ', 'Well, ', 'Also: ', 'And ', 'Next: ', 'Another question: ', 'Can you tell me: ', 'I wonder, ', 'So, ', 'Tell me, ', 'A question: ', 'Still, ', 'By the way, ', 'Weir: '], held: ['', '', '', 'Excuse me, ', 'One more thing: '] };

/* Now and then with something before or after it that nobody foresaw. */
function dressed(values, text, held) {
  const r = values.random;
  const beside = () => anyWords(values, r.between(1, 4)).join(' ');
  let out = r.pick(wrap[held ? 'held' : 'train']) + text;
  if (!held && r.chance(0.25)) out = capital(beside()) + r.pick([': ', ', ', '. ', ' - ', '! ', '; ', '\n']) + out;
  if (!held && r.chance(0.12)) out += r.pick([', ', '. ', ' ', ' - ', '\n']) + beside();
  if (r.chance(0.65)) out = capital(out);
  if (!/[.?!:]$/.test(out) && r.chance(0.25)) out += r.pick(['.', '?', '!', ' please', ' please.']);
  return r.chance(0.06) ? out.toLowerCase() : out;
}

/* What nobody can foresee: a question's head, or a request's, and any words. Whatever is none of its jobs is declined. */
const heads = 'what is, what are, what does, what would, how do, how does, how many, how much, why is, why do, who is, who was, when did, when will, where is, where can I find, which, is there, are there, is it, does, did, can, could you, should, would you, will, tell me, tell us, explain, describe, write, make, give me, show me, find, list, name, compare, help me with, I want, I need, we need, let us, please, think about, imagine, invent, draw, sing, play, read, calculate, count, define, discuss, argue, recommend, suggest, prove, guess, do you know, do you think, have you, I wonder, in which, for whom, whose, since when, how long, how far, how often'.split(', ');
function anything(values) {
  const r = values.random;
  if (r.chance(0.2)) return anyMessage(values, false);
  return `${r.pick(heads)} ${anyWords(values, r.between(1, 8)).join(' ')}`;
}

function conversation(values, held, question, answer) {
  const r = values.random, messages = [];
  if (r.chance(0.2)) messages.push({ role: 'system', content: system(values, held) });
  for (let n = r.weigh(held ? [[13, 0], [1, 1]] : [[4, 0], [2, 1], [2, 2], [1, 3]]); n > 0; n--) {
    const before = r.pick(facts.filter((f) => f.a !== answer));
    messages.push({ role: 'user', content: dressed(values, ask(values, before, held), held) }, { role: 'assistant', content: before.a });
  }
  messages.push({ role: 'user', content: question }, { role: 'assistant', content: answer });
  return { messages };
}

const ask = (values, fact, held) => loose(values.random, expand(values.random.pick(half(fact.lines, held)), values.random, (s) => values.get(s)), held);

/* The same question with small words left out or put in: what it asks about counts, not how. */
const small = new Set('the a an is are do does can could I you it in on of to for with my me there this that what which how would should be if please and'.split(' '));
const fillers = ['the', 'a', 'please', 'just', 'exactly', 'now', 'really', 'actually', 'here', 'for me', 'with it', 'I want to know', 'tell me', 'and', 'so', 'then', 'again', 'in', 'of', 'my'];
function loose(r, text, held) {
  if (held || r.chance(0.5)) return text;
  return text.split(' ').filter((w, i, all) => all.length < 4 || !small.has(w) || r.chance(0.7)).flatMap((w) => (r.chance(0.08) ? [r.pick(fillers), w] : [w])).join(' ');
}

export function weirExample(values, held) {
  const fact = values.random.pick(facts);
  return { ...conversation(values, held, dressed(values, ask(values, fact, held), held), fact.a), must: fact.must };
}

export function elsewhereExample(values, held) {
  const r = values.random;
  const slot = (s) => {
    if (!slots[s]) return values.get(s);
    const mine = slots[s].filter((w) => isHeld(w) === held);
    return expand(r.pick(mine.length && slots[s].length >= 20 ? mine : slots[s]), r, slot);
  };
  if (!held && r.chance(0.3)) return conversation(values, held, dressed(values, anything(values), held), decline);
  if (r.chance(held ? 0.8 : 0.7)) return conversation(values, held, dressed(values, loose(r, expand(r.pick(half(elsewhere.general, held)), r, slot), held), held), decline);
  const text = extractText(values, held);
  const request = expand(r.pick(half(elsewhere['over a text'], held)), r, slot);
  return conversation(values, held, r.chance(0.7) ? `${request}${r.pick(['\n', '\n\n', ' '])}${text}` : `${text}\n\n${request}`, decline);
}
