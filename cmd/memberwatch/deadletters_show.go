package main

import (
	"context"
	"encoding/json"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/bus"
)

func (p *program) showLetter(ctx context.Context, arg string, asJSON bool) error {
	seq, err := parseSequence(arg)
	if err != nil {
		return err
	}
	box, c, err := p.letterbox(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	l, err := box.Get(ctx, seq)
	if err != nil {
		return c.explain(c.subjects.DeadLetterStream(), err)
	}
	if asJSON {
		return p.printLetterJSON(&l, true)
	}
	p.printLetter(&l)
	return nil
}

func (p *program) printLetter(l *bus.Letter) {
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, name+"\t"+format+"\n", args...) }
	row("sequence", "%d", l.Sequence)
	row("category", "%s", l.Category)
	row("reason", "%s", oneLine(reasonOf(l), 0))
	if l.Err == nil {
		row("subject", "%s", oneLine(l.Subject, 0))
		row("message", "%s #%d", oneLine(l.Stream, 0), l.DeadLetter.Sequence)
		row("stored", "%s", stampOf(l.FirstAt))
		row("dead", "%s, after %d tries", stampOf(l.DeadAt), l.Attempts)
		for _, name := range sortedNames(l.Headers) {
			for _, v := range l.Headers[name] {
				row("header", "%s: %s", oneLine(name, 0), veilNamed(name, v))
			}
		}
		size := fmt.Sprintf("%d bytes", l.BodySize)
		if len(l.Body) < l.BodySize {
			size += fmt.Sprintf(", of which %d were kept", len(l.Body))
		}
		row("body", "%s, SHA-256 %s", size, oneLine(l.BodySHA256, 0))
	}
	_ = w.Flush() // Output for a person.
	if len(l.Body) > 0 {
		fmt.Fprintf(p.stdout, "\n%s\n", veilBody(l.Body))
	}
}

// letterView is a letter as JSON: the body as text, secrets veiled.
type letterView struct {
	Sequence   uint64              `json:"sequence"`
	Category   events.Category     `json:"category"`
	Reason     string              `json:"reason"`
	Unreadable bool                `json:"unreadable,omitempty"`
	Subject    string              `json:"subject"`
	Stream     string              `json:"stream"`
	Message    uint64              `json:"message_sequence"`
	Attempts   uint64              `json:"attempts"`
	FirstAt    time.Time           `json:"first_at"`
	DeadAt     time.Time           `json:"dead_at"`
	Headers    map[string][]string `json:"headers,omitempty"`
	BodySize   int                 `json:"body_size"`
	BodyKept   int                 `json:"body_kept"`
	Body       *string             `json:"body,omitempty"`
}

func (p *program) printLetterJSON(l *bus.Letter, whole bool) error {
	v := letterView{
		Sequence: l.Sequence, Category: l.Category, Reason: veil(reasonOf(l)), Unreadable: l.Err != nil,
		Subject: l.Subject, Stream: l.Stream, Message: l.DeadLetter.Sequence, Attempts: l.Attempts,
		FirstAt: l.FirstAt, DeadAt: l.DeadAt, BodySize: l.BodySize, BodyKept: len(l.Body),
		Headers: make(map[string][]string),
	}
	for name, values := range l.Headers {
		for _, value := range values {
			v.Headers[name] = append(v.Headers[name], veilNamed(name, value))
		}
	}
	if whole {
		body := veilBody(l.Body)
		v.Body = &body
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding dead letter: %w", err)
	}
	return p.printJSONLine(raw)
}
