//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/memberwatch/memberwatch/internal/oracle"
)

// maxOracleLines is how much of a verdict is shown; more of the same helps nobody.
const maxOracleLines = 6

// closing closes the world when a scenario ends, and adds what goes wrong to its error.
func (w *world) closing(err *error) { *err = errors.Join(*err, w.close()) }

// fault is an error if memberwatch did it; of the loop it is only noted.
func (w *world) fault(format string, args ...any) error {
	what := w.c.name + ": " + fmt.Sprintf(format, args...)
	if w.c.isProduct() {
		return fmt.Errorf("%w: %s; the end of the worker's log:\n%s", errBroken, what, w.worker.tail())
	}
	w.report.note(what)
	return nil
}

// verify has the oracle read all that memberwatch published, and holds the last
// event of each member that p asked about against what MX says. Of the loop only
// the latter.
func (w *world) verify(ctx context.Context, p *pass) error {
	truth, err := w.mx.truth(ctx)
	if err != nil {
		return err
	}
	maps.DeleteFunc(truth, func(guid string, _ json.RawMessage) bool {
		_, asked := p.sent[guid]
		return !asked
	})
	if !w.c.isProduct() {
		wrong, err := w.wrongLast(ctx, truth)
		if err == nil && wrong > 0 {
			err = w.fault("the last event of %d members says another status than MX", wrong)
		}
		return err
	}
	report, err := oracle.Check(ctx, w.js, oracle.Options{
		Prefix: w.c.prefix, SameClock: true,
		Truth: func(yield func(string, []byte) bool) {
			for guid, member := range truth {
				if !yield(guid, member) {
					return
				}
			}
		},
	})
	switch {
	case err != nil:
		return fmt.Errorf("asking the oracle: %w", err)
	case !report.OK():
		lines := strings.SplitAfterN(report.String(), "\n", maxOracleLines+1)
		return w.fault("the oracle: %s", strings.Join(lines[:min(len(lines), maxOracleLines)], ""))
	}
	w.report.judged(report)
	return w.noDeadLetters(ctx)
}

func (w *world) noDeadLetters(ctx context.Context) error {
	name := strings.ToUpper(w.c.prefix) + "_DEADLETTERS"
	s, err := w.js.Stream(ctx, name)
	if err != nil {
		return fmt.Errorf("looking at stream %s: %w", name, err)
	}
	if n := s.CachedInfo().State.LastSeq; n > 0 {
		return w.fault("%d of %d commands became dead letters", n, w.published)
	}
	return nil
}

// wrongLast counts members whose last event says another status than MX.
func (w *world) wrongLast(ctx context.Context, truth map[string]json.RawMessage) (int, error) {
	all, err := w.eventsAfter(ctx, 0)
	if err != nil {
		return 0, err
	}
	last := make(map[string]string, len(truth))
	for _, e := range all {
		last[e.member] = e.status
	}
	wrong := 0
	for guid, text := range truth {
		var m struct {
			Status string `json:"connection_status"`
		}
		if err := json.Unmarshal(text, &m); err != nil {
			return 0, fmt.Errorf("decoding truth: %w", err)
		}
		if last[guid] != m.Status {
			wrong++
		}
	}
	return wrong, nil
}
