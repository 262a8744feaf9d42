//go:build unix

package mx

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// serveExample is set for the process that answers the reads of BenchmarkCPUOfARead.
const serveExample = "MX_BENCH_SERVE"

// BenchmarkCPUOfARead compares the CPU time, user and system, that a read costs: with this package; with this package over
// http.Transport; and with http.Client and encoding/json. The server is another process, so that only the client counts,
// and the ways take turns, so that all of them meet the same noise. An operation is 1,024 reads in each way, 64 at once.
func BenchmarkCPUOfARead(b *testing.B) {
	const atOnce, each = 64, 16
	base := startServer(b)
	client := func(wrap func(http.RoundTripper) http.RoundTripper) func(context.Context) error {
		c, err := New(Config{
			BaseURL: base, ClientID: "id", APIKey: "key", AcceptVersion: "v20250224", Timeout: time.Minute, MaxInFlight: atOnce,
		}, WithTransport(wrap))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(c.Close)
		return func(ctx context.Context) error {
			_, err := c.ReadMember(ctx, exampleUser, exampleMember)
			return err
		}
	}
	netHTTP := &http.Transport{MaxIdleConnsPerHost: atOnce, MaxConnsPerHost: atOnce, DisableCompression: true}
	plain := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: atOnce}, Timeout: time.Minute}
	b.Cleanup(netHTTP.CloseIdleConnections)
	b.Cleanup(plain.CloseIdleConnections)
	ways := []struct {
		name string
		read func(context.Context) error
		cpu  time.Duration
	}{
		{name: "mx", read: client(func(own http.RoundTripper) http.RoundTripper { return own })},
		{name: "mx-over-net-http", read: client(func(http.RoundTripper) http.RoundTripper { return netHTTP })},
		{name: "plain", read: func(ctx context.Context) error { return plainRead(ctx, plain, base, exampleUser, exampleMember) }},
	}
	round := func(read func(context.Context) error) time.Duration {
		runtime.GC() // Each pays for its own garbage only.
		began := cpuTime(b)
		var readers sync.WaitGroup
		for range atOnce {
			readers.Go(func() {
				for range each {
					if err := read(b.Context()); err != nil {
						b.Error(err)
					}
				}
			})
		}
		readers.Wait()
		runtime.GC()
		return cpuTime(b) - began
	}
	for i := range ways {
		round(ways[i].read) // Connections are opened, pools filled.
	}
	rounds := 0
	for b.Loop() {
		for i := range ways {
			ways[i].cpu += round(ways[i].read)
		}
		rounds++
	}
	for _, way := range ways {
		b.ReportMetric(float64(way.cpu.Microseconds())/float64(rounds*atOnce*each), "cpu-µs/"+way.name)
		b.ReportMetric(float64(way.cpu)/float64(ways[len(ways)-1].cpu), way.name+"/plain")
	}
}

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// startServer has this test's binary, as another process, answer every request with the published example.
func startServer(b *testing.B) string {
	b.Helper()
	child := exec.CommandContext(b.Context(), os.Args[0], "-test.run=^TestServeExample$")
	child.Env = append(os.Environ(), serveExample+"=1")
	out, err := child.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	in, err := child.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := child.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = in.Close() // Ends it.
		_ = child.Wait()
	})
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return "http://" + strings.TrimSpace(address)
}

// TestServeExample is no test but the other process of BenchmarkCPUOfARead. It ends with its standard input.
func TestServeExample(t *testing.T) {
	if os.Getenv(serveExample) == "" {
		t.Skip("only as the server of a benchmark")
	}
	body, err := os.ReadFile("testdata/read_member.json")
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	})}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	_, _ = os.Stdout.WriteString(listener.Addr().String() + "\n")
	_, _ = os.Stdin.Read(make([]byte, 1))
	_ = server.Close()
	serving.Wait()
}
