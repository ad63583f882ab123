#!/usr/bin/env node
// Stands for another engine's bench program in the tests of bench/peers.mjs: the options and the JSON that it knows of.
const option = (name) => process.argv[process.argv.indexOf(name) + 1];
const rows = [];
for (const depth of option('-d').split(',').map(Number)) {
  rows.push({ n_prompt: Number(option('-p')), n_gen: 0, n_depth: depth, avg_ts: 1000 });
  rows.push({ n_prompt: 0, n_gen: Number(option('-n')), n_depth: depth, avg_ts: 100 });
}
if (option('-o') !== 'json') process.exit(1);
console.log(JSON.stringify(rows));
