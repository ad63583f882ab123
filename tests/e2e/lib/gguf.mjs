// GGUF files as bytes: metadata pairs [key, type, bytes...] and float32 tensors [name, shape, values or none].
export const u32 = (n) => Buffer.from(Uint32Array.of(n).buffer);
export const u64 = (n) => Buffer.from(BigUint64Array.of(BigInt(n)).buffer);
export const f32 = (n) => Buffer.from(Float32Array.of(n).buffer);
export const text = (s) => Buffer.concat([u64(Buffer.byteLength(s)), Buffer.from(s)]);
const pad = (b) => Buffer.concat([b, Buffer.alloc((32 - (b.length % 32)) % 32)]);

export function gguf(pairs, tensors) {
  const data = [];
  const infos = [];
  let offset = 0;
  for (const [name, shape, values] of tensors) {
    const count = shape.reduce((a, b) => a * b);
    infos.push(text(name), u32(shape.length), ...shape.map(u64), u32(0), u64(offset));
    data.push(pad(Buffer.from(Float32Array.from(values ?? Array(count).fill(0)).buffer)));
    offset += data.at(-1).length;
  }
  const written = pairs.flatMap(([key, type, ...value]) => [text(key), u32(type), ...value]);
  const head = [Buffer.from('GGUF'), u32(3), u64(tensors.length), u64(pairs.length), ...written, ...infos];
  return Buffer.concat([pad(Buffer.concat(head)), ...data]);
}
