/** Service leaves that the server's process has issued until now, as its `/metrics` say. */
export async function issuedLeaves({ httpPort }: { readonly httpPort: number }): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${httpPort}/metrics`)).text();
  const lines = text.match(/^meshroot_certificates_issued_total\{.*kind="leaf".*result="ok".*$/gm) ?? [];
  return lines.reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
}
