package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

func environment(vars map[string]string) func(string) (string, bool) {
	return func(key string) (string, bool) {
		value, ok := vars[key]
		return value, ok
	}
}

func TestRunAnnouncesItsAddressServesAndStopsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, nil, environment(map[string]string{
			"MXSIM_ADDR": "127.0.0.1:0", "MXSIM_MEMBERS": "13", "MXSIM_API_KEY": "other",
		}), in, io.Discard)
		_ = in.CloseWithError(errors.New("run ended"))
	}()

	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	base, ok := strings.CutPrefix(strings.TrimSpace(line), "mxsim listening on ")
	if !ok {
		t.Fatalf("announced %q", line)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/users/user-2/members/member-13", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("sim-client", "other")
	req.Header.Set("Accept-Version", "v20250224")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("the last of 13 members: status %d", resp.StatusCode)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("stopping: %v", err)
	}
}

func TestRunNamesTheWrongVariable(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]string{
		"MXSIM_LATENCY": "fast", "MXSIM_LOG": "some", "MXSIM_MEMBERS": "-1", "MXSIM_SEED": "-1", "MXSIM_SETTLE_AFTER": "-1s",
		"MXSIM_TLS_CERT": "cert.pem", "MXSIM_TLS_KEY": "key.pem",
	} {
		err := run(t.Context(), nil, environment(map[string]string{name: value}), io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), strings.TrimPrefix(name, "MXSIM_")) &&
			!strings.Contains(strings.ToUpper(err.Error()), strings.ReplaceAll(strings.TrimPrefix(name, "MXSIM_"), "_", "")) {
			t.Errorf("%s=%s: %v", name, value, err)
		}
	}
}

func TestRunExplainsItselfAndRefusesArguments(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := run(t.Context(), []string{"--help"}, environment(nil), &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"MXSIM_ADDR", "Example:", "curl"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("help lacks %s", want)
		}
	}
	for _, args := range [][]string{{"serve"}, {"--port=1"}} {
		if err := run(t.Context(), args, environment(nil), io.Discard, io.Discard); err == nil {
			t.Errorf("arguments %q: no error", args)
		}
	}
}
