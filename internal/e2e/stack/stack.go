package stack

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"syscall"
	"testing"
	"time"
)

// Credentials of the simulator. They are unlike anything else that is logged, so
// that a search for them finds a leak and nothing but.
const (
	ClientID = "journey-client"
	APIKey   = "k3y-nobody-may-ever-see-in-a-log" //nolint:gosec // Made up here, opens nothing.
)

// Credentials of MX's webhooks.
const (
	HookUser     = "journey-mx"
	HookPassword = "w3bh00k-nobody-may-see-it-either" //nolint:gosec // Likewise.
)

// Times of the stacks' settings, short so that journeys are. SettleAfter is below
// FollowUpAfter: what settles by itself is found by the follow-up read.
const (
	FollowUpAfter      = 500 * time.Millisecond
	DeleteConfirmAfter = time.Second
	SettleAfter        = 300 * time.Millisecond
)

// Env is settings of a program over those of its stack. An empty value stands
// for a variable that is not set.
type Env map[string]string

// Stack is an installation: NATS, a simulated MX, and workers to start.
type Stack interface {
	// NATS is where customers connect. With an embedded NATS it is known once
	// the first worker runs, and then stays.
	NATS() string
	// Sim is the simulated MX.
	Sim() *Sim
	// Start starts a worker and returns it when it runs; see [Ready]. The first
	// worker of a stack with an embedded NATS is the one that has it: started
	// again after its end, it finds the same store at the same address.
	Start(tb testing.TB, name string, env Env) Program
	// Beside starts a worker that uses the NATS which is there already.
	Beside(tb testing.TB, name string, env Env) Program
	// Outputs is what each program has written so far, by name.
	Outputs() map[string]string
}

// Program is a running process, or the one in a container.
type Program interface {
	// Name is what its output is filed under.
	Name() string
	// HTTP is the root of a worker's health port, as http://host:port.
	HTTP(tb testing.TB) string
	// Hooks is the root of a worker's port for MX's webhooks, likewise.
	Hooks(tb testing.TB) string
	// Signal sends s.
	Signal(tb testing.TB, s syscall.Signal)
	// Wait returns the exit code once the program has ended; 128+n when signal n ended it.
	Wait(tb testing.TB) int
	// Output is what it has written so far, to standard output and error.
	Output() string
}

// settings are those of a worker in any stack.
func settings(over ...Env) Env {
	env := Env{
		"MX_CLIENT_ID": ClientID, "MX_API_KEY": APIKey, "MX_TIMEOUT": "5s",
		"WEBHOOK_USER": HookUser, "WEBHOOK_PASSWORD": HookPassword,
		"FOLLOW_UP_AFTER": FollowUpAfter.String(), "DELETE_CONFIRM_AFTER": DeleteConfirmAfter.String(),
		// The level that says most, so that the search for secrets sees all there is.
		"LOG_LEVEL": "debug", "LOG_FORMAT": "json",
		"GOMAXPROCS": "2", // the stack shares the machine with other tests
	}
	for _, o := range over {
		maps.Copy(env, o)
	}
	maps.DeleteFunc(env, func(_, v string) bool { return v == "" })
	return env
}

// simSettings are those of the simulator in any stack.
func simSettings(over Env) Env {
	env := Env{
		"MXSIM_CLIENT_ID": ClientID, "MXSIM_API_KEY": APIKey,
		"MXSIM_LOG": "all", "MXSIM_SETTLE_AFTER": SettleAfter.String(), "GOMAXPROCS": "2",
	}
	maps.Copy(env, over)
	return env
}

// Health is what a worker's /readyz says.
type Health struct {
	Status int `json:"-"` // of HTTP; 0 when nobody answered
	Checks []struct {
		Name   string `json:"name"`
		OK     bool   `json:"ok"`
		Reason string `json:"reason"`
	} `json:"checks"`
}

// Bad is the reason of the check called name; empty when it is well.
func (h Health) Bad(name string) string {
	for _, c := range h.Checks {
		if c.Name == name && !c.OK {
			return c.Reason
		}
	}
	return ""
}

// HealthOf asks p for its health.
func HealthOf(tb testing.TB, p Program) (h Health) {
	tb.Helper()
	status, text := get(tb, p.HTTP(tb)+"/readyz")
	if json.Unmarshal(text, &h) == nil {
		h.Status = status
	}
	return h
}

// Metrics is what p measures, in Prometheus' text format.
func Metrics(tb testing.TB, p Program) string {
	tb.Helper()
	status, text := get(tb, p.HTTP(tb)+"/metrics")
	if status != http.StatusOK {
		tb.Fatalf("metrics of %s: status %d", p.Name(), status)
	}
	return string(text)
}

// get returns status 0 when nobody answers.
func get(tb testing.TB, url string) (status int, body []byte) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), Patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		tb.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close()
	if body, err = io.ReadAll(resp.Body); err != nil {
		return 0, nil
	}
	return resp.StatusCode, body
}

// Ready waits until p is ready, and returns it.
func Ready(tb testing.TB, p Program) Program {
	tb.Helper()
	Eventually(tb, p.Name()+" is ready", func() bool { return HealthOf(tb, p).Status == http.StatusOK })
	return p
}

// Stop ends p with SIGTERM and returns its exit code.
func Stop(tb testing.TB, p Program) int {
	tb.Helper()
	p.Signal(tb, syscall.SIGTERM)
	return p.Wait(tb)
}

// Kill ends p with SIGKILL and returns when it is gone.
func Kill(tb testing.TB, p Program) {
	tb.Helper()
	p.Signal(tb, syscall.SIGKILL)
	p.Wait(tb)
}
