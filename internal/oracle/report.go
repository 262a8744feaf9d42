package oracle

import (
	"fmt"
	"strings"
)

// Invariant names a promise of the contract.
type Invariant string

// The invariants; the package comment says what each holds.
const (
	Form   Invariant = "form"
	Schema Invariant = "schema"
	I0     Invariant = "I0"
	I1     Invariant = "I1"
	I2     Invariant = "I2"
	I3     Invariant = "I3"
	I4     Invariant = "I4"
	I5     Invariant = "I5"
	I7     Invariant = "I7"
)

// Offense is one broken promise.
type Offense struct {
	Invariant Invariant
	Stream    string
	Sequence  uint64 // in Stream; 0 when no single message is to blame
	Member    string // user guid/member guid, as far as known
	Reason    string // one sentence for people
}

func (o Offense) String() string {
	return fmt.Sprintf("%s %s #%d %s: %s", o.Invariant, o.Stream, o.Sequence, o.Member, o.Reason)
}

// Report is what the oracle saw.
type Report struct {
	Events        int // on the event stream
	Members       int
	Transitions   int // events that follow another of the same member
	Needs         int // times that the need to authorize arose
	Announcements int // on the OAuth stream
	WithoutURI    int // announcements for which MX gave no URI
	Faults        int // offenses, those beyond the kept ones included
	Offenses      []Offense
}

// OK reports whether every promise was kept.
func (r Report) OK() bool { return r.Faults == 0 }

// String is the verdict in one line, and a line for each offense kept.
func (r Report) String() string {
	var b strings.Builder
	if r.OK() {
		b.WriteString("every promise kept")
	} else {
		fmt.Fprintf(&b, "%d offenses", r.Faults)
	}
	fmt.Fprintf(&b, " in %d events of %d members (%d transitions, %d needs to authorize, %d announcements, %d of them without URI)",
		r.Events, r.Members, r.Transitions, r.Needs, r.Announcements, r.WithoutURI)
	for _, o := range r.Offenses {
		b.WriteString("\n\t" + o.String())
	}
	if more := r.Faults - len(r.Offenses); more > 0 {
		fmt.Fprintf(&b, "\n\tand %d more", more)
	}
	return b.String()
}
