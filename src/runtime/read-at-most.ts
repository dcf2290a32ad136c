/** Of what somebody else sends, to its end. */

/** Throws an Error of `tooLong` as soon as there are more than `maxBytes`, and the stream's own error. Both end the stream. */
export async function readAtMost(
  stream: AsyncIterable<Uint8Array>,
  maxBytes: number,
  tooLong: string,
): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of stream) {
    length += chunk.length;
    if (length > maxBytes) throw new Error(tooLong);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
