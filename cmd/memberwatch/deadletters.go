package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/bus"
)

// errLeft: not every dead letter could be dealt with.
var errLeft = errors.New("dead letters remain")

// letterFlags choose dead letters.
type letterFlags struct {
	category, reason, since string
	limit                   int
	json, all, yes          bool
}

func (p *program) deadLettersCommand() *cobra.Command {
	return group("deadletters", "Look at what was given up, and send it again or drop it",
		`deadletters shows the messages that the service could not carry out, and why; it
sends them again, or removes them. What looks like a secret is not shown: values
of headers and fields with such names, and all of a URL but its host.`,
		`  memberwatch deadletters ls --since 24h
  memberwatch deadletters show 42
  memberwatch deadletters retry --category exhausted
  memberwatch deadletters drop 42 43`,
		p.lettersLsCommand(), p.lettersShowCommand(), p.lettersRetryCommand(), p.lettersDropCommand(),
	)
}

func (p *program) lettersLsCommand() *cobra.Command {
	var f letterFlags
	c := &cobra.Command{
		Use:   "ls",
		Short: "List dead letters",
		Long: `ls lists dead letters, oldest first: their sequence, by which the other commands
name them, when and why they were given up, and where the message was published.`,
		Example: `  memberwatch deadletters ls --category invalid --limit 20
  memberwatch deadletters ls --reason "user:" --since 2026-03-01T00:00:00Z --json`,
		Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error { return p.listLetters(c.Context(), &f) },
	}
	f.filters(c)
	c.Flags().StringVar(&f.since, "since", "", "only those kept since a time (RFC 3339), or so long ago (1h)")
	c.Flags().IntVar(&f.limit, "limit", 0, "at most so many; 0 all")
	c.Flags().BoolVar(&f.json, "json", false, "one JSON object a line, without the body")
	return c
}

func (p *program) lettersShowCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "show SEQUENCE",
		Short: "Show a dead letter with its headers and body",
		Long: `show prints all that is known of a dead letter: when the message was stored and when
it was given up, how often it was tried, why, its headers and its body.`,
		Example: `  memberwatch deadletters show 42
  memberwatch deadletters show 42 --json`,
		Args: exactly("SEQUENCE"),
		RunE: func(c *cobra.Command, args []string) error { return p.showLetter(c.Context(), args[0], asJSON) },
	}
	c.Flags().BoolVar(&asJSON, "json", false, "as one JSON object")
	return c
}

func (p *program) lettersRetryCommand() *cobra.Command {
	var f letterFlags
	c := &cobra.Command{
		Use:   "retry [SEQUENCE…]",
		Short: "Send dead letters again",
		Long: `retry publishes the messages again, each as it was and on its own subject, and removes
a letter once NATS has stored its message. What was in the background lane (a
follow-up, a confirming read) goes back as a refresh command of its member.

A body that was cut when the letter was written cannot be sent again; its letter
stays. Choose by sequence, by filter, or --all. By filter it asks first, or wants
--yes where there is no terminal.`,
		Example: `  memberwatch deadletters retry 42
  memberwatch deadletters retry --category exhausted --reason timeout
  memberwatch deadletters retry --all --yes`,
		RunE: func(c *cobra.Command, args []string) error { return p.retryLetters(c.Context(), &f, args) },
	}
	f.choice(c)
	return c
}

func (p *program) lettersDropCommand() *cobra.Command {
	var f letterFlags
	c := &cobra.Command{
		Use:   "drop [SEQUENCE…]",
		Short: "Remove dead letters for good",
		Long: `drop removes dead letters. Choose by sequence, by filter, or --all. It says how many
and asks first, or wants --yes where there is no terminal. Letters that are written
after it has asked stay.`,
		Example: `  memberwatch deadletters drop 42 43
  memberwatch deadletters drop --category misdirected
  memberwatch deadletters drop --all --yes`,
		RunE: func(c *cobra.Command, args []string) error { return p.dropLetters(c.Context(), &f, args) },
	}
	f.choice(c)
	return c
}

func (f *letterFlags) filters(c *cobra.Command) {
	c.Flags().StringVar(&f.category, "category", "", "only this category: "+strings.Join(categories(), ", "))
	c.Flags().StringVar(&f.reason, "reason", "", "only those whose reason holds this text, in any case")
}

func (f *letterFlags) choice(c *cobra.Command) {
	f.filters(c)
	c.Flags().BoolVar(&f.all, "all", false, "all there are")
	c.Flags().BoolVar(&f.yes, "yes", false, "do not ask")
}

func categories() []string {
	var names []string
	for _, c := range events.Categories() {
		names = append(names, string(c))
	}
	return names
}

// letters is what the flags choose.
func (f *letterFlags) letters() (bus.Letters, error) {
	if f.category != "" && !slices.Contains(categories(), f.category) {
		return bus.Letters{}, usagef("--category: %.80q is none of %s", f.category, strings.Join(categories(), ", "))
	}
	if f.limit < 0 {
		return bus.Letters{}, usagef("--limit: %d; give 0 or more", f.limit)
	}
	since, err := parseSince(f.since, time.Now())
	return bus.Letters{Category: events.Category(f.category), Reason: f.reason, Since: since}, err
}

// chosen reads what retry and drop are to work on: sequences, or else what the
// filter says.
func (f *letterFlags) chosen(args []string) ([]uint64, bus.Letters, error) {
	filtered := f.category != "" || f.reason != ""
	switch {
	case len(args) > 0 && (filtered || f.all):
		return nil, bus.Letters{}, usagef("give sequences or a filter, not both")
	case f.all && filtered:
		return nil, bus.Letters{}, usagef("--all: leave out --category and --reason, or --all")
	case len(args) == 0 && !filtered && !f.all:
		return nil, bus.Letters{}, usagef("give sequences, --category, --reason or --all; memberwatch deadletters ls shows what there is")
	}
	var seqs []uint64
	for _, a := range args {
		seq, err := parseSequence(a)
		if err != nil {
			return nil, bus.Letters{}, err
		}
		seqs = append(seqs, seq)
	}
	q, err := f.letters()
	return seqs, q, err
}

func parseSequence(s string) (uint64, error) {
	seq, err := strconv.ParseUint(s, 10, 64)
	if err != nil || seq == 0 {
		return 0, usagef("%.80q is no sequence; memberwatch deadletters ls shows them", s)
	}
	return seq, nil
}

// letterbox connects. What it returns last must be closed.
func (p *program) letterbox(ctx context.Context) (*bus.Letterbox, *session, error) {
	c, err := p.session(ctx)
	if err != nil {
		return nil, nil, err
	}
	return bus.NewLetterbox(c.js, c.subjects), c, nil
}

func (p *program) listLetters(ctx context.Context, f *letterFlags) error {
	q, err := f.letters()
	if err != nil {
		return err
	}
	box, c, err := p.letterbox(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	n := 0
	for l, err := range box.All(ctx, q) {
		if err != nil {
			_ = w.Flush() // The error says more.
			return c.explain(c.subjects.DeadLetterStream(), err)
		}
		if f.json {
			if err := p.printLetterJSON(&l, false); err != nil {
				return err
			}
		} else {
			if n%letterPage == 0 {
				_ = w.Flush() // What is kept for alignment is bounded, too.
			}
			if n == 0 {
				fmt.Fprintln(w, "SEQUENCE\tDEAD\tCATEGORY\tTRIES\tSUBJECT\tREASON")
			}
			fmt.Fprintf(w, "%d\t%s\t%s\t%d\t%s\t%s\n", l.Sequence, stampOf(l.DeadAt), l.Category, l.Attempts,
				oneLine(l.Subject, letterSubjectWidth), oneLine(reasonOf(&l), letterReasonWidth))
		}
		if n++; n == f.limit {
			break
		}
	}
	if n == 0 && !f.json {
		fmt.Fprintln(p.stderr, "no dead letters")
	}
	_ = w.Flush() // Output for a person.
	return nil
}

// Widths of the list, and how many lines are aligned with each other.
const (
	letterSubjectWidth = 64
	letterReasonWidth  = 100
	letterPage         = 200
)

func stampOf(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.UTC().Format(time.RFC3339)
}

func reasonOf(l *bus.Letter) string {
	if l.Err != nil {
		return l.Err.Error()
	}
	return l.Reason
}

func (p *program) dropLetters(ctx context.Context, f *letterFlags, args []string) error {
	seqs, q, err := f.chosen(args)
	if err != nil {
		return err
	}
	box, c, err := p.letterbox(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	if len(seqs) > 0 {
		return p.dropSequences(ctx, box, seqs, f.yes)
	}
	if q.Until, err = p.agree(ctx, c, box, q, "removed for good", f.yes); err != nil || q.Until == 0 {
		return err
	}
	n, err := box.Drop(ctx, q)
	fmt.Fprintf(p.stdout, "dropped    %d\n", n)
	return err
}

func (p *program) dropSequences(ctx context.Context, box *bus.Letterbox, seqs []uint64, yes bool) error {
	if err := p.confirm(fmt.Sprintf("%d dead letters will be removed for good.", len(seqs)), yes); err != nil {
		return err
	}
	var problems []error
	for _, seq := range seqs {
		if err := box.Remove(ctx, seq); err != nil {
			problems = append(problems, err)
		}
	}
	fmt.Fprintf(p.stdout, "dropped    %d\n", len(seqs)-len(problems))
	return errors.Join(problems...)
}

// agree counts what a filter means and has the person agree. It returns up to
// where was counted, 0 when there is nothing.
func (p *program) agree(ctx context.Context, c *session, box *bus.Letterbox, q bus.Letters, fate string, yes bool) (uint64, error) {
	by, until, err := box.Count(ctx, q)
	if err != nil {
		return 0, c.explain(c.subjects.DeadLetterStream(), err)
	}
	var n uint64
	var parts []string
	for _, category := range sortedNames(by) {
		n += by[category]
		parts = append(parts, fmt.Sprintf("%d %s", by[category], category))
	}
	if n == 0 {
		fmt.Fprintln(p.stderr, "no dead letters")
		return 0, nil
	}
	return until, p.confirm(fmt.Sprintf("%d dead letters (%s) will be %s.", n, strings.Join(parts, ", "), fate), yes)
}

func (p *program) retryLetters(ctx context.Context, f *letterFlags, args []string) error {
	seqs, q, err := f.chosen(args)
	if err != nil {
		return err
	}
	box, c, err := p.letterbox(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	t := retried{p: p, box: box}
	if len(seqs) > 0 {
		for _, seq := range seqs {
			l, err := box.Get(ctx, seq)
			if err != nil {
				t.stay++
				fmt.Fprintln(p.stderr, err)
			} else if err := t.one(ctx, &l); err != nil {
				return err
			}
		}
		return t.end()
	}
	if q.Until, err = p.agree(ctx, c, box, q, "sent again", f.yes); err != nil || q.Until == 0 {
		return err
	}
	for l, err := range box.All(ctx, q) {
		if err != nil {
			return errors.Join(err, t.end())
		}
		if err := t.one(ctx, &l); err != nil {
			return err
		}
	}
	return t.end()
}

// retried counts what became of letters.
type retried struct {
	p          *program
	box        *bus.Letterbox
	sent, stay int
}

// one sends a letter again. What is wrong with the letter is told and counted;
// an error is what would happen to the next one too.
func (t *retried) one(ctx context.Context, l *bus.Letter) error {
	err := t.box.Resend(ctx, l)
	switch {
	case err == nil:
		t.sent++
		return nil
	case errors.Is(err, bus.ErrCut), errors.Is(err, bus.ErrNoWayBack), errors.Is(err, bus.ErrUnreadableLetter):
		t.stay++
		fmt.Fprintf(t.p.stderr, "letter %d stays: %s\n", l.Sequence, oneLine(err.Error(), 0))
		return nil
	}
	return errors.Join(err, t.end())
}

func (t *retried) end() error {
	fmt.Fprintf(t.p.stdout, "retried    %d\n", t.sent)
	if t.stay > 0 {
		return fmt.Errorf("%w: %d could not be sent again", errLeft, t.stay)
	}
	return nil
}

func sortedNames[K ~string, V any](m map[K]V) []K {
	names := make([]K, 0, len(m))
	for k := range m {
		names = append(names, k)
	}
	slices.Sort(names)
	return names
}
