/** The kinds of roots that the proof knows: what each is good for. One table, for our own proof and for the judge. */

import type { ErrorCode } from "../../src/core/errors.ts";
import { CA, ec, intermediate, longLength, type OddRoot, oddRoot, patched, rsa, SKI } from "./odd-roots.ts";

const plain = [...CA, SKI];
const withConstraint = (value: string) => () =>
  oddRoot({ extensions: [...plain, `nameConstraints=critical,${value}`] });
const withExtension = (line: string) => () => oddRoot({ extensions: [...plain, line] });
const manyNames = Array.from({ length: 3_000 }, (_, index) => `DNS:n${index}.example`).join(",");

/** A refusal of any of these is a fault. */
export const GOOD_ROOTS: Readonly<Record<string, () => OddRoot>> = {
  "openssl's default CA": () =>
    oddRoot({ extensions: [SKI, "authorityKeyIdentifier=keyid:always,issuer", "basicConstraints=critical,CA:true"] }),
  "empty subject": () => oddRoot({ subject: "/" }),
  "UTF-8 subject": () => oddRoot({ subject: "/O=Größe/CN=漢字", more: ["-utf8"] }),
  "BMP subject": () => patched(oddRoot({ subject: "/CN=ABCD" }), "0c0441424344", "1e0400410042"),
  "path length 0": () => oddRoot({ extensions: ["basicConstraints=critical,CA:TRUE,pathlen:0", SKI] }),
  "P-521": () => oddRoot({ key: ec("P-521") }),
  "RSA-4096": () => oddRoot({ key: rsa(4096) }),
  "serial 0": () => oddRoot({ serial: "0" }),
  "serial -5": () => oddRoot({ serial: "-5" }),
  "20-byte serial": () => oddRoot({ serial: `0x7f${"ab".repeat(19)}` }),
  "not after 2050": () => oddRoot({ more: ["-days", "9000"] }),
  "not after 9999": () => oddRoot({ more: ["-days", "2912000"] }),
  "MD5 self-signature": () => oddRoot({ key: rsa(2048), more: ["-md5"] }),
  "EKU with both": withExtension("extendedKeyUsage=serverAuth,clientAuth"),
  "3,000 SANs": withExtension(`subjectAltName=${manyNames}`),
  "CRL points": withExtension("crlDistributionPoints=URI:http://crl.example/root"),
  "critical policy constraints": withExtension("policyConstraints=critical,requireExplicitPolicy:0"),
  "constraints that exclude others": withConstraint("excluded;DNS:foo.bar"),
  "constraints on addresses": withConstraint("permitted;IP:10.0.0.0/255.0.0.0"),
  "constraints on mail": withConstraint("permitted;email:foo.bar"),
  "constraints that permit this mesh": withConstraint(
    "permitted;DNS:cluster.local,permitted;DNS:xds.meshroot.internal,permitted;DNS:localhost",
  ),
  "no subject key id": () => oddRoot({ extensions: [...CA, "subjectKeyIdentifier=none"] }),
  "no key usage": () => oddRoot({ extensions: ["basicConstraints=critical,CA:TRUE", SKI] }),
  "critical CRL points": withExtension("crlDistributionPoints=critical,URI:http://crl.example/root"),
};

type Bad = { readonly make: () => OddRoot; readonly code: ErrorCode; readonly message: RegExp };

const bad = (make: () => OddRoot, message: RegExp, code: ErrorCode = "MR3006"): Bad => ({ make, message, code });

/** What the xDS port and the agents (OpenSSL) refuse. */
export const REFUSED_BY_OPENSSL: Readonly<Record<string, Bad>> = {
  "eku-server-only": bad(withExtension("extendedKeyUsage=serverAuth"), /extendedKeyUsage, which lacks clientAuth/),
  "EKU client only": bad(withExtension("extendedKeyUsage=clientAuth"), /lacks serverAuth/),
  "EKU for code": bad(withExtension("extendedKeyUsage=codeSigning"), /lacks serverAuth and clientAuth/),
  "EKU any": bad(withExtension("extendedKeyUsage=anyExtendedKeyUsage"), /lacks serverAuth and clientAuth/),
  "an intermediate": bad(() => intermediate(oddRoot()), /not self-signed/),
  "an intermediate of its issuer's name": bad(() => intermediate(oddRoot(), "/CN=odd"), /not self-signed/),
  "another's authority key id": bad(withExtension(`2.5.29.35=DER:30168014${"01".repeat(20)}`), /not self-signed/),
  "an unknown critical extension": bad(
    withExtension("1.2.3.4.5=critical,ASN1:UTF8String:x"),
    /critical.*1\.2\.3\.4\.5/,
  ),
  "RSA-1024": bad(() => oddRoot({ key: rsa(1024) }), /too small \(RSA-1024\)/),
  "constraints on other URIs": bad(withConstraint("permitted;URI:other.local"), /xDS credential/, "MR3007"),
  "constraints without the server's names": bad(
    withConstraint("permitted;DNS:cluster.local"),
    /xds\.meshroot\.internal.*permitted DNS cluster\.local/,
    "MR3007",
  ),
};

/** What Envoy (BoringSSL) refuses: the first three OpenSSL, too, all others Envoy alone. */
export const REFUSED_BY_ENVOY: Readonly<Record<string, Bad>> = {
  "name-constraints": bad(withConstraint("permitted;DNS:foo.bar"), /xds\.meshroot\.internal/, "MR3007"),
  "constraints that exclude this mesh": bad(withConstraint("excluded;DNS:cluster.local"), /cart\.shop/, "MR3007"),
  "constraints on directory names": bad(withConstraint("permitted;dirName:names"), /directory name/, "MR3007"),
  "constraints with a minimum": bad(
    withExtension("2.5.29.30=critical,DER:3016a0143012820d636c75737465722e6c6f63616c800100"),
    /minimum or maximum/,
  ),
  "X.509 version 2": bad(() => patched(oddRoot(), "a003020102", "a003020101"), /version 2/),
  "X.509 version 4": bad(() => patched(oddRoot(), "a003020102", "a003020103"), /version 4/),
  "a length that is not DER": bad(() => longLength(oddRoot()), /not encoded in DER/),
  "a large RSA exponent": bad(
    () => oddRoot({ key: [...rsa(2048), "-pkeyopt", "rsa_keygen_pubexp:1099511627791"] }),
    /exponent/,
  ),
};
