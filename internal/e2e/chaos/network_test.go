package chaos

import (
	"strings"
	"time"

	"github.com/memberwatch/memberwatch/internal/e2e/stack"
)

// spoil does something to the connections through p, and takes it back.
func (t *scene) spoil(p *stack.Proxy) {
	t.tally.cuts++
	switch t.rng.IntN(6) {
	case 0:
		p.Cut(true)
	case 1:
		p.Cut(false)
	case 2:
		p.HalfClose(t.rng.IntN(2) == 0)
	case 3:
		p.Set(stack.Slow)
		t.between(100*time.Millisecond, 2*time.Second)
	case 4: // what was asked is done, and nobody hears of it
		p.Set(stack.Mute)
		t.between(100*time.Millisecond, time.Second)
		p.Cut(true)
	case 5:
		p.Set(stack.Stall)
		t.between(100*time.Millisecond, 3*time.Second)
		if t.rng.IntN(2) == 0 {
			p.Cut(true)
		}
	}
	p.Set(stack.Pass)
	t.between(50*time.Millisecond, 500*time.Millisecond)
}

func badNATS(t *scene) {
	s := stack.NewProcesses(t, binaries, stack.OwnNATS())
	target := stack.To(strings.TrimPrefix(s.NATS(), "nats://"))
	proxies := []*stack.Proxy{stack.NewProxy(t, target), stack.NewProxy(t, target)}
	crew := stack.NewCrew(t, s, 3, laden("NATS_URL", "nats://"+proxies[0].Addr()), laden("NATS_URL", "nats://"+proxies[1].Addr()), laden())
	t.under("bad network to NATS", s, usual(), func(*load) { t.spoil(proxies[t.rng.IntN(2)]) })
	t.leave(s, crew)
}

func badMX(t *scene) {
	s := stack.NewProcesses(t, binaries, stack.OwnNATS())
	p := stack.NewProxy(t, stack.To(strings.TrimPrefix(s.SimURL(), "http://")))
	env := laden("MX_BASE_URL", "http://"+p.Addr(), "MX_TIMEOUT", "1s")
	crew := stack.NewCrew(t, s, 3, env, env, laden())
	t.under("bad network to MX", s, usual(), func(*load) { t.spoil(p) })
	t.leave(s, crew)
}
