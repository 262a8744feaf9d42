package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/e2e/stack"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
)

// doors are the ways into the service beside commands. While things break they
// fail as they may: who is refused or hears nothing asks again some other time.
type doors struct {
	seed  uint64
	nats  string // URL
	hooks string // URL

	webhooks, requests, sweeps door
}

// door counts how those who came by it fared.
type door struct{ served, failed atomic.Int64 }

func (d *door) count(err error) {
	if err != nil {
		d.failed.Add(1)
		return
	}
	d.served.Add(1)
}

func (d *doors) String() string {
	return fmt.Sprintf("%d webhooks taken and %d not, %d requests answered and %d not, %d sweeps watched to their end and %d not",
		d.webhooks.served.Load(), d.webhooks.failed.Load(), d.requests.served.Load(), d.requests.failed.Load(), d.sweeps.served.Load(), d.sweeps.failed.Load())
}

// everyDoorUsed fails the test when nobody came in by one of them.
func (d *doors) everyDoorUsed(t *scene) {
	t.Helper()
	t.Log(d)
	if d.webhooks.served.Load() == 0 || d.requests.served.Load() == 0 || d.sweeps.served.Load() == 0 {
		t.Error("there is a door that served nobody")
	}
}

// use takes every door until ctx ends.
func (d *doors) use(ctx context.Context, l *load) {
	var wg sync.WaitGroup
	wg.Go(func() { d.often(ctx, l, 1, func(m mxsim.Ref) { d.webhooks.count(d.hint(ctx, m)) }) })
	wg.Go(func() { d.often(ctx, l, 2, func(m mxsim.Ref) { d.requests.count(ask(ctx, l, m)) }) })
	wg.Go(func() {
		for ctx.Err() == nil {
			sweep := exec.CommandContext(ctx, binaries.Memberwatch, "sweep")
			sweep.Env = []string{"NATS_URL=" + d.nats}
			if err := sweep.Run(); ctx.Err() == nil {
				d.sweeps.count(err)
			}
		}
	})
	wg.Wait()
}

// often does something about one member after another.
func (d *doors) often(ctx context.Context, l *load, stream uint64, do func(mxsim.Ref)) {
	rng := rand.New(rand.NewPCG(d.seed, stream))
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			do(l.members[rng.IntN(len(l.members))])
		}
	}
}

// hint tells the service by webhook that something may have happened to a member.
func (d *doors) hint(ctx context.Context, m mxsim.Ref) error {
	body, err := json.Marshal(map[string]any{"action": "CHANGED", "type": "CONNECTION_STATUS", "user_guid": m.UserGUID, "member_guid": m.GUID})
	if err != nil {
		return fmt.Errorf("encoding webhook: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.hooks+"/webhooks/mx", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("making webhook: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.SetBasicAuth(stack.HookUser, stack.HookPassword)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("sending webhook: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		return fmt.Errorf("webhook is answered %s", resp.Status)
	}
	return nil
}

// ask has a member refreshed and waits for the answer.
func ask(ctx context.Context, l *load, m mxsim.Ref) error {
	body, err := json.Marshal(map[string]any{"user": m.UserGUID, "member": m.GUID})
	if err != nil {
		return fmt.Errorf("encoding request: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, answer)
	defer cancel()
	reply, err := l.nc.RequestWithContext(ctx, "mx.api.member."+events.APIRefresh, body)
	if err != nil {
		return fmt.Errorf("asking: %w", err)
	}
	if code := reply.Header.Get("Nats-Service-Error-Code"); code != "" {
		return fmt.Errorf("asking: code %s", code)
	}
	return nil
}
