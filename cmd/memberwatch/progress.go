package main

import (
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/memberwatch/memberwatch/internal/sweep"
)

// plainEvery is how often a line is written where nobody watches a bar.
const plainEvery = 10 * time.Second

// progress shows how far a sweep has come: a bar on a terminal, else lines.
type progress struct {
	w     io.Writer
	bar   *progressbar.ProgressBar // of phase; nil: lines
	bars  bool
	phase sweep.Phase
	last  time.Time // a line was written
	begun struct {  // what was done when the phase was first seen, for the rate
		at   time.Time
		done int
	}
}

func newProgress(w io.Writer, id string) *progress {
	p := &progress{w: w, bars: isTerminal(w)}
	p.say("sweep " + id)
	return p
}

// say writes a line beside the bar.
func (p *progress) say(line string) {
	if p.bar != nil {
		_ = p.bar.Clear() // Output for a person.
	}
	fmt.Fprintln(p.w, line)
}

// update shows how far s has come now.
func (p *progress) update(s *sweep.Sweep, now time.Time) {
	done, total := s.Done()
	turned := s.Phase != p.phase
	if turned {
		p.close()
		p.phase, p.begun.at, p.begun.done = s.Phase, now, done
	}
	if !p.bars {
		if turned || now.Sub(p.last) >= plainEvery {
			p.last = now
			fmt.Fprintln(p.w, p.line(s, now))
		}
		return
	}
	if p.bar == nil {
		p.bar = progressbar.NewOptions(max(total, -1), progressbar.OptionSetWriter(p.w), progressbar.OptionSetDescription(title(s.Phase)),
			progressbar.OptionSetWidth(30), progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString(unit(s.Phase)),
			progressbar.OptionSetPredictTime(true), progressbar.OptionClearOnFinish())
	}
	if total > 0 {
		p.bar.ChangeMax(total)
	}
	_ = p.bar.Set(min(done, max(total, done))) // Output for a person.
}

// line is done/total, rate and time left as text.
func (p *progress) line(s *sweep.Sweep, now time.Time) string {
	done, total := s.Done()
	text := title(s.Phase)
	if total > 0 {
		text += fmt.Sprintf(" %d/%d %s", done, total, unit(s.Phase))
	} else if done > 0 {
		text += fmt.Sprintf(" %d %s", done, unit(s.Phase))
	}
	if took := now.Sub(p.begun.at); took >= time.Second && done > p.begun.done {
		rate := float64(done-p.begun.done) / took.Seconds()
		text += fmt.Sprintf(", %.0f/s", rate)
		if left := float64(total - done); left > 0 {
			text += fmt.Sprintf(", %s left", time.Duration(left/rate*float64(time.Second)).Round(time.Second))
		}
	}
	c := &s.Counts
	text += fmt.Sprintf("; %d members: %d changed, %d new, %d missing, %d errors", c.Members, c.Changed, c.New, c.Missing, c.Errors)
	if s.Waiting {
		text += "; waiting for refreshes to be made"
	}
	return text
}

// close ends the bar, if there is one.
func (p *progress) close() {
	if p.bar != nil {
		_ = p.bar.Clear() // Output for a person.
		p.bar = nil
	}
}

func title(phase sweep.Phase) string {
	switch phase {
	case sweep.PhaseNew:
		return "looking for new users"
	case sweep.PhaseKnown:
		return "looking at known users"
	case sweep.PhaseUser, sweep.PhaseOver:
	}
	return "looking at the user"
}

func unit(phase sweep.Phase) string {
	if phase == sweep.PhaseKnown {
		return "events"
	}
	return "users"
}
