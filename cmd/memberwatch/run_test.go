package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"
	"go.uber.org/goleak"

	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
)

func TestEveryCommandExplainsItselfWithAnExample(t *testing.T) {
	t.Parallel()
	p := &program{env: envconfig.MapLookuper(nil)}
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		path := strings.Fields(c.CommandPath())
		t.Run(strings.Join(path, " "), func(t *testing.T) {
			t.Parallel()
			if c.Short == "" || c.Long == "" || !strings.Contains(c.Example, "memberwatch") {
				t.Errorf("short %q, long %q, example %q: all must be there", c.Short, c.Long, c.Example)
			}
			if strings.HasSuffix(c.Short, ".") {
				t.Errorf("short ends with a period: %q", c.Short)
			}
			var out bytes.Buffer
			if err := run(t.Context(), append(path[1:], "--help"), envconfig.MapLookuper(nil), &out, &out); err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{strings.SplitN(c.Long, "\n", 2)[0], "Examples:", c.Example} {
				if !strings.Contains(out.String(), want) {
					t.Errorf("help lacks %q:\n%s", want, out.String())
				}
			}
		})
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(p.root())
}

func TestStageLeavesNothingBehind(t *testing.T) {
	alive := goleak.IgnoreCurrent()
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	var logs bytes.Buffer
	s, err := newStage(t.Context(), mxsim.Config{Now: time.Now}, map[string]string{"LOG_LEVEL": "warn"}, &logs)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
	goleak.VerifyNone(t, alive)
	if logs.Len() > 0 {
		t.Errorf("logged:\n%s", logs.String())
	}
}

func TestStageThatCannotBePutUpLeavesNothingBehind(t *testing.T) {
	alive := goleak.IgnoreCurrent()
	if _, err := newStage(t.Context(), mxsim.Config{Now: time.Now}, map[string]string{"STREAM_REPLICAS": "2"}, &bytes.Buffer{}); err == nil {
		t.Error("no error")
	}
	goleak.VerifyNone(t, alive)
}
