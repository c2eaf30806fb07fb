// A model in another language: two scores, by the sign of each row's first number.
// One message a call: eight bytes with the length of what follows, little endian, and an .npz (a zip of .npy files).
import { readSync, writeSync } from "node:fs";

function exactly(length) {
  const data = Buffer.alloc(length);
  for (let have = 0; have < length; ) {
    const got = readSync(0, data, have, length - have, null);
    if (got === 0) process.exit(0);
    have += got;
  }
  return data;
}

function entries(zip) {
  const found = {};
  let at = zip.readUInt32LE(zip.lastIndexOf("PK\x05\x06", undefined, "latin1") + 16); // the list of files, at its end
  while (zip.readUInt32LE(at) === 0x02014b50) {
    const [size, name, extra, note] = [zip.readUInt32LE(at + 24), zip.readUInt16LE(at + 28), zip.readUInt16LE(at + 30), zip.readUInt16LE(at + 32)];
    const file = zip.readUInt32LE(at + 42);
    const start = file + 30 + zip.readUInt16LE(file + 26) + zip.readUInt16LE(file + 28);
    found[zip.toString("utf8", at + 46, at + 46 + name).replace(/\.npy$/, "")] = zip.subarray(start, start + size);
    at += 46 + name + extra + note;
  }
  return found;
}

function floats(npy) {
  const header = npy.readUInt16LE(8);
  const shape = npy.toString("latin1", 10, 10 + header).match(/'shape': \(([^)]*)\)/)[1].split(",").filter((n) => n.trim()).map(Number);
  const data = new Float32Array(new Uint8Array(npy.subarray(10 + header)).buffer);
  return { shape, data };
}

function npy({ shape, data }) {
  let header = `{'descr': '<f4', 'fortran_order': False, 'shape': (${shape.join(", ")},), }`;
  header += " ".repeat(63 - ((10 + header.length) % 64)) + "\n";
  const start = Buffer.from("\x93NUMPY\x01\x00\0\0" + header, "latin1");
  start.writeUInt16LE(header.length, 8);
  return Buffer.concat([start, Buffer.from(data.buffer)]);
}

const table = Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n >>> 0;
});
const crc = (data) => ~data.reduce((sum, byte) => table[(sum ^ byte) & 255] ^ (sum >>> 8), -1) >>> 0;

function zipped(name, data) {
  const entry = Buffer.alloc(26);
  entry.writeUInt16LE(20, 0);
  entry.writeUInt32LE(crc(data), 10);
  entry.writeUInt32LE(data.length, 14);
  entry.writeUInt32LE(data.length, 18);
  entry.writeUInt16LE(name.length, 22);
  const local = Buffer.concat([Buffer.from("PK\x03\x04"), entry, Buffer.from(name), data]);
  const list = Buffer.concat([Buffer.from("PK\x01\x02\x14\x00"), entry, Buffer.alloc(14), Buffer.from(name)]);
  const end = Buffer.alloc(22);
  end.write("PK\x05\x06", "latin1");
  end.writeUInt16LE(1, 8);
  end.writeUInt16LE(1, 10);
  end.writeUInt32LE(list.length, 12);
  end.writeUInt32LE(local.length, 16);
  return Buffer.concat([local, list, end]);
}

for (;;) {
  const asked = entries(exactly(Number(exactly(8).readBigUInt64LE())));
  const { shape, data } = floats(asked.x);
  const scores = new Float32Array(shape[0] * 2);
  for (let row = 0; row < shape[0]; row++) {
    const first = data[row * shape[1]];
    if (Number.isNaN(first)) throw new Error(`row ${row} holds no number`);
    scores.set([-first, first], row * 2);
  }
  const answer = zipped("scores.npy", npy({ shape: [shape[0], 2], data: scores }));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(answer.length));
  const whole = Buffer.concat([length, answer]);
  for (let sent = 0; sent < whole.length; ) sent += writeSync(1, whole, sent);
}
