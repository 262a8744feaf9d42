package main

import (
	"bufio"
	"context"
	"io"
	"strings"
	"testing"

	"github.com/sethvargo/go-envconfig"
)

// A platform may stop a worker that still waits for NATS, and that is no failure.
func TestServeThatIsStoppedWhileItStartsEndsWell(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	said, stderr := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		defer stderr.Close()
		ended <- run(ctx, []string{"serve"}, envconfig.MapLookuper(map[string]string{
			"NATS_URL": "nats://" + unusedAddr(t), "HTTP_ADDR": "127.0.0.1:0",
			"MX_BASE_URL": "http://" + unusedAddr(t), "MX_CLIENT_ID": "sim-client", "MX_API_KEY": "sim-key",
		}), io.Discard, stderr)
	}()
	var all strings.Builder
	for lines := bufio.NewScanner(said); lines.Scan(); {
		all.WriteString(lines.Text() + "\n")
		if strings.Contains(lines.Text(), "NATS cannot be reached") {
			stop()
		}
	}
	if err := <-ended; err != nil || !strings.Contains(all.String(), "stopped before it served") {
		t.Errorf("ended with %v, and said:\n%s", err, all.String())
	}
	stop()
}
