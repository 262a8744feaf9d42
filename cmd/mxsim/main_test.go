package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/sethvargo/go-envconfig"

	"github.com/memberwatch/memberwatch/internal/settings"
)

func TestRunAnnouncesItsAddressServesAndStopsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, nil, envconfig.MapLookuper(map[string]string{
			"MXSIM_ADDR": "127.0.0.1:0", "MXSIM_MEMBERS": "13", "MXSIM_API_KEY": "other",
		}), in)
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

func TestRunNamesEveryWrongVariableAtOnce(t *testing.T) {
	t.Parallel()
	wrong := map[string]string{
		"MXSIM_ADDR": "here", "MXSIM_LATENCY": "fast", "MXSIM_LOG": "some", "MXSIM_MEMBERS": "-1", "MXSIM_NASTY": "very",
		"MXSIM_SEED": "-1", "MXSIM_SETTLE_AFTER": "-1s", "MXSIM_SETTLE_READS": "few", "MXSIM_TLS_CERT": "cert.pem", "MXSIM_TLS_KEY": "key.pem",
	}
	all := run(t.Context(), nil, envconfig.MapLookuper(wrong), io.Discard)
	for name, value := range wrong {
		for _, err := range []error{all, run(t.Context(), nil, envconfig.MapLookuper(map[string]string{name: value}), io.Discard)} {
			if code := exitCode(err, io.Discard); code != exitUsage || !strings.Contains(err.Error(), name) {
				t.Errorf("%s=%s: exit code %d, %v", name, value, code, err)
			}
		}
	}
}

func TestHelpListsEverySettingWithItsDefault(t *testing.T) {
	t.Parallel()
	for _, s := range settings.Of(new(config)) {
		_, line, _ := strings.Cut(usage, "\n  "+s.Name+" ")
		line, _, _ = strings.Cut(line, "\n")
		if line == "" || s.Default != "false" && !strings.Contains(line, s.Default) {
			t.Errorf("of %s, by default %q, help says %q", s.Name, s.Default, line)
		}
	}
}

func TestOnlyTheCallersMistakesAreUsage(t *testing.T) {
	t.Parallel()
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	err = run(t.Context(), nil, envconfig.MapLookuper(map[string]string{"MXSIM_ADDR": taken.Addr().String()}), io.Discard)
	var told bytes.Buffer
	if code := exitCode(err, &told); code != exitFailed || !strings.HasPrefix(told.String(), "mxsim: ") {
		t.Errorf("an address that is taken: exit code %d, %q", code, told.String())
	}
	if code := exitCode(nil, &told); code != exitOK {
		t.Errorf("no error: exit code %d", code)
	}
}

func TestRunExplainsItselfAndRefusesArguments(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := run(t.Context(), []string{"--help"}, envconfig.MapLookuper(nil), &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"MXSIM_ADDR", "Example:", "curl"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("help lacks %s", want)
		}
	}
	for _, args := range [][]string{{"serve"}, {"--port=1"}} {
		var out bytes.Buffer
		err := run(t.Context(), args, envconfig.MapLookuper(nil), &out)
		if code := exitCode(err, io.Discard); code != exitUsage || !strings.Contains(err.Error(), "see mxsim --help") || out.Len() > 0 {
			t.Errorf("arguments %q: exit code %d, %v, printed %q", args, code, err, out.String())
		}
	}
}
