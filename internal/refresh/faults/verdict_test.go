package faults

import (
	"encoding/json"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/oracle"
	"github.com/memberwatch/memberwatch/internal/refresh/refreshtest"
	"github.com/memberwatch/memberwatch/schemas/validate"
)

var validator = sync.OnceValues(validate.New)

// checked counts the transitions that the oracle has looked at in this run.
var checked atomic.Int64

// judge has the oracle read everything about a member, or about all when k is
// zero, and hold it against what MX answered and what it says now.
func judge(t *testing.T, r *refreshtest.Rig, k events.Key) oracle.Report {
	t.Helper()
	v, err := validator()
	if err != nil {
		t.Fatal(err)
	}
	report, err := oracle.Check(t.Context(), r.JS, oracle.Options{
		Prefix: r.Subjects.Prefix(), Member: k.Member(), SameClock: true, Validate: v.Event,
		EveryRead: r.Sim.Dropped() == 0,
		Reads: func(yield func(oracle.Read) bool) {
			for e := range r.Sim.LogAll(0) {
				if e.Endpoint == "read" && e.Arrived() &&
					!yield(oracle.Read{Member: e.MemberGUID, Status: e.Status, Body: e.Member, At: e.At}) {
					return
				}
			}
		},
		Truth: func(yield func(string, []byte) bool) {
			for truth := range r.Sim.Truths() {
				var body []byte
				if truth.Status == 200 {
					if body, err = json.Marshal(truth.Member); err != nil {
						t.Error(err)
					}
				}
				if !yield(truth.Member.GUID, body) {
					return
				}
			}
		},
	})
	if err != nil {
		t.Fatalf("asking the oracle: %v", err)
	}
	if !report.OK() {
		t.Errorf("the oracle: %s", report)
	}
	checked.Add(int64(report.Transitions))
	return report
}

const (
	// patience ends a broken test, no working one. It outlasts two time-outs of a dead letter.
	patience = 90 * time.Second
	// glance is how often the server is asked whether it is over.
	glance = 20 * time.Millisecond
)

// eventually waits until a condition holds, and reports whether it does.
func eventually(holds func() bool) bool {
	tick := time.NewTicker(glance)
	defer tick.Stop()
	end := time.NewTimer(patience)
	defer end.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-end.C:
			return false
		}
	}
	return true
}

// quiet waits until nothing is left to do.
func quiet(t *testing.T, r *refreshtest.Rig) {
	t.Helper()
	inARow := 0
	if !eventually(func() bool {
		if !idle(t, r) {
			inARow = 0
			return false
		}
		inARow++ // what has just left one queue may be about to enter the next
		return inARow > 1
	}) {
		t.Fatalf("there was still something to do after %s: %d commands, %d background messages",
			patience, r.Messages(r.Subjects.CommandStream()), r.Messages(r.Subjects.BackgroundStream()))
	}
}

func idle(t *testing.T, r *refreshtest.Rig) bool {
	t.Helper()
	if r.Messages(r.Subjects.CommandStream()) > 0 || r.Messages(r.Subjects.BackgroundStream()) > uint64(len(r.Followed())) {
		return false
	}
	last := r.StreamInfo(r.Subjects.EventStream()).State.LastSeq
	i := consumer(t, r, r.Subjects.EventStream(), "memberwatch-follow")
	return i.NumPending == 0 && i.NumAckPending == 0 && i.Delivered.Stream >= last
}

func consumer(t *testing.T, r *refreshtest.Rig, stream, durable string) *jetstream.ConsumerInfo {
	t.Helper()
	c, err := r.JS.Consumer(t.Context(), stream, durable)
	if err != nil {
		t.Fatal(err)
	}
	return c.CachedInfo()
}
