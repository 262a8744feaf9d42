package chaos

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/internal/e2e/stack"
)

// The field that the upgraded build knows and the one before does not.
const newField = "use_cases"

// earlier builds the version before newField: it neither compares nor writes it.
func earlier(t *testing.T) stack.Binaries {
	t.Helper()
	b, err := stack.BuildEdited(
		stack.Edit{File: "internal/member/diff.go", Old: `d.set("use_cases", last.UseCases, now.UseCases)`},
		stack.Edit{File: "events/encode.go", Old: "\tb = append(b, `,\"use_cases\":`...)\n\tb = appendTexts(b, m.UseCases)\n"},
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Remove)
	return b
}

// upgrade replaces workers, one after the other and under load, by a build that
// compares one field more, and then by the earlier one again.
func upgrade(t *scene) {
	old := earlier(t.T)
	s := stack.NewProcesses(t, binaries, stack.OwnNATS())
	s.Use(old)
	crew := stack.NewCrew(t, s, 3, laden())
	t.customer = stack.NewCustomer(t, s.NATS(), "bank", lenient{t.schema})
	roll := func(l *load, b stack.Binaries) {
		s.Use(b)
		for i := range 3 {
			if code := stack.Stop(t, crew.Worker(i)); code != 0 {
				t.Errorf("worker %d, replaced, ended with code %d", i, code)
			}
			crew.Replace(t, i)
			stack.Ready(t, crew.Worker(i))
			l.flows(t.T)
			t.between(500*time.Millisecond, 2*time.Second)
		}
	}
	began := time.Now()
	l := startLoad(t.T, s, t.rng, usual())
	l.flows(t.T)
	roll(l, binaries)
	roll(l, old)
	roll(l, binaries) // the new build reads what the earlier one wrote after it
	l.end(t.T)
	end := l.last(t.T)
	t.customer.Quiet(t)
	t.tally.pause = l.pause(t.T, end)

	// Nothing happens at MX, every member is read by the new build: nothing may be said.
	before := l.last(t.T)
	t.refreshAll(s, "upgraded")
	if after := l.last(t.T); after != before {
		t.Errorf("%d events that only the upgrade caused, of %d members", after-before, len(l.members))
	}
	t.tally.transitions = t.causes(l)
	t.tally.took = time.Since(began)
	t.tallies["rolling upgrade and back"] = t.tally
	t.Logf("upgrade: %s", t.tally)
	t.leave(s, crew)
}

// refreshAll has every member read once and waits until that is done.
func (t *scene) refreshAll(s stack.Stack, name string) {
	t.Helper()
	members := s.Sim().Members(t)
	ids := t.customer.RefreshAll(t, name, len(members), of(members))
	t.customer.Results(t, ids, len(ids))
	t.customer.Quiet(t)
}

// causes reads every event and checks that none was made because of newField,
// which never changes at MX: it is adopted on the side of another change. It
// returns how many events followed another of their member.
func (t *scene) causes(l *load) (transitions int) {
	t.Helper()
	end := l.last(t.T)
	c, err := l.js.OrderedConsumer(t.Context(), eventStream, jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	messages, err := c.Messages()
	if err != nil {
		t.Fatal(err)
	}
	defer messages.Stop()
	for {
		m, err := messages.Next(jetstream.NextMaxWait(stack.Patience))
		if err != nil {
			t.Fatal(err)
		}
		var e struct {
			Data struct {
				Changed  []string `json:"changed"`
				Revision int      `json:"revision"`
			} `json:"data"`
		}
		if err := json.Unmarshal(m.Data(), &e); err != nil {
			t.Fatal(err)
		}
		news := slices.DeleteFunc(e.Data.Changed, func(field string) bool {
			// Times and wording change whenever they like, and make no event by themselves.
			return slices.Contains([]string{newField, "connection_status_message", "aggregated_at", "successfully_aggregated_at", "is_being_aggregated"}, field)
		})
		if e.Data.Revision > 1 {
			transitions++
			if len(news) == 0 {
				t.Errorf("only the upgrade caused this event: %s", m.Data())
			}
		}
		meta, err := m.Metadata()
		if err != nil {
			t.Fatal(err)
		}
		if meta.Sequence.Stream >= end {
			return transitions
		}
	}
}

// lenient lets pass that an event of the earlier build lacks newField.
type lenient struct{ stack.Validator }

// Event implements stack.Validator.
func (v lenient) Event(raw []byte) error {
	// The member comes first; behind it the earlier build may pass on newField in what was before.
	const next = `,"aggregated_at":`
	member, rest, ok := bytes.Cut(raw, []byte(next))
	if ok && !bytes.Contains(member, []byte(`"`+newField+`":`)) {
		raw = slices.Concat(member, []byte(`,"`+newField+`":null`+next), rest)
	}
	return v.Validator.Event(raw)
}
