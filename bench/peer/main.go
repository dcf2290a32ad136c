// The peer of bench/push.ts: one validation context for everybody, served over ADS by go-control-plane's snapshot cache.
//
// Line by line on stdin, answers on stdout, both JSON: {"push":"v1"} gives every client another content, {"measure":true}
// tells what the process has cost since it began.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"strings"
	"syscall"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

const everybody = "everybody"

// One snapshot serves all nodes, which is the cheapest that the cache can do.
type oneNode struct{}

func (oneNode) ID(*corev3.Node) string { return everybody }

func main() {
	certFile := flag.String("cert", "", "certificate of the server, PEM file")
	keyFile := flag.String("key", "", "its private key, PEM file")
	caFile := flag.String("ca", "", "root of the clients' certificates, PEM file")
	flag.Parse()

	certificate, err := tls.LoadX509KeyPair(*certFile, *keyFile)
	check(err)
	ca, err := os.ReadFile(*caFile)
	check(err)
	own, err := os.ReadFile(*certFile)
	check(err)
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(ca)

	snapshots := cache.NewSnapshotCache(true, oneNode{}, nil)
	push := func(version string) {
		bundle := "# " + version + "\n" + string(ca) + string(own)
		check(snapshots.SetSnapshot(context.Background(), everybody, snapshot(version, bundle)))
	}
	push("v0")

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	grpcServer := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{certificate},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    clients,
		MinVersion:   tls.VersionTLS12,
	})))
	xds := server.NewServer(context.Background(), snapshots, nil)
	discovery.RegisterAggregatedDiscoveryServiceServer(grpcServer, xds)
	go func() { check(grpcServer.Serve(listener)) }()

	answer(map[string]int{"xdsPort": listener.Addr().(*net.TCPAddr).Port})
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var orders struct {
			Push    string
			Measure bool
		}
		check(json.Unmarshal(lines.Bytes(), &orders))
		if orders.Measure {
			answer(cost())
			continue
		}
		push(orders.Push)
		answer(struct{}{})
	}
}

func snapshot(version, bundle string) cache.ResourceSnapshot {
	secret := &tlsv3.Secret{
		Name: "ROOTCA",
		Type: &tlsv3.Secret_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{
			TrustedCa: &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: []byte(bundle)}},
		}},
	}
	made, err := cache.NewSnapshot(version, map[resource.Type][]types.Resource{resource.SecretType: {secret}})
	check(err)
	return made
}

// CPU time in microseconds since the process began, and resident bytes.
func cost() map[string]int64 {
	var used syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	micros := func(t syscall.Timeval) int64 { return t.Sec*1_000_000 + t.Usec }
	return map[string]int64{"cpuUs": micros(used.Utime) + micros(used.Stime), "rssBytes": residentBytes()}
}

func residentBytes() int64 {
	status, err := os.ReadFile("/proc/self/status")
	check(err)
	var kib int64
	for _, line := range strings.Split(string(status), "\n") {
		if strings.HasPrefix(line, "VmRSS:") {
			_, err := fmt.Sscanf(line, "VmRSS: %d kB", &kib)
			check(err)
		}
	}
	return kib * 1024
}

func answer(what any) {
	check(json.NewEncoder(os.Stdout).Encode(what))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
