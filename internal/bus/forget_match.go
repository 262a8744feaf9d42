package bus

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/bus/command"
)

// Person says whose traces are meant: one member's, or those of a user and all
// their members.
type Person struct {
	User   string // guid
	Member string // guid; empty: all members of the user
	// Ids by which partners call them, so far as they are known. Commands and dead
	// letters may hold nothing else.
	UserIDs, MemberIDs []string
}

// matcher is a Person made ready to be looked for.
type matcher struct {
	subjects events.Subjects
	user     string
	member   string          // "*": all
	guids    []string        // each of which is proof wherever it stands
	users    map[string]bool // what the user is called
	members  map[string]bool // what the member is called; nil: whatever it is
	passed   uint64          // up to here no command that waits is about the person
}

func newMatcher(s events.Subjects, p Person) *matcher {
	w := &matcher{subjects: s, user: p.User, member: "*", users: map[string]bool{p.User: true}}
	for _, id := range p.UserIDs {
		w.users[id] = true
	}
	if p.Member == "" {
		w.guids = []string{p.User}
		return w
	}
	w.member, w.guids, w.members = p.Member, []string{p.Member}, map[string]bool{p.Member: true}
	for _, id := range p.MemberIDs {
		w.members[id] = true
	}
	return w
}

// met learns from an event what the person is called.
func (w *matcher) met(k events.Key, userID, memberID *string) {
	if userID != nil && *userID != "" {
		w.users[*userID] = true
	}
	if w.members != nil && memberID != nil && *memberID != "" {
		w.members[*memberID] = true
	}
	if w.members == nil {
		w.guid(k.Member())
	}
}

func (w *matcher) guid(g string) {
	if !slices.Contains(w.guids, g) {
		w.guids = append(w.guids, g)
	}
}

// isNamed reports whether a pair of ids, of any kind, means the person.
func (w *matcher) isNamed(user, member string) bool {
	return w.users[user] && (w.members == nil || w.members[member])
}

// isKey reports whether a key is the person's.
func (w *matcher) isKey(user, member string) bool {
	return user == w.user && (w.member == "*" || w.member == member)
}

// of is the filter of a subject that ends in user and member.
func (w *matcher) of(front string) string { return front + "." + w.user + "." + w.member }

// inMessage reports whether a message on the command stream, or one that was and could
// perhaps not be read, is about the person.
func (w *matcher) inMessage(subject string, h nats.Header, body []byte) bool {
	if user, member, named, ok := w.subjects.ParseRefresh(subject); ok && named && w.isNamed(user, member) {
		return true
	}
	if c, _, err := command.Decode(w.subjects, subject, h, body); err == nil {
		if w.isNamed(c.User, c.Member) {
			return true
		}
	}
	// What is wrong with it may be anything but these.
	var loose struct {
		events.Command
		Data events.Command `json:"data"`
	}
	_ = json.Unmarshal(body, &loose) // A field of the wrong type does not keep it from reading the others.
	if w.isNamed(loose.User, loose.Member) || w.isNamed(loose.Data.User, loose.Data.Member) {
		return true
	}
	if w.mentioned(subject) || w.mentioned(string(body)) {
		return true
	}
	for _, values := range h {
		if slices.ContainsFunc(values, w.mentioned) {
			return true
		}
	}
	return false
}

// inLetter reports whether a dead letter is about the person.
func (w *matcher) inLetter(l *Letter) bool {
	return w.mentioned(l.Reason) || w.inMessage(l.Subject, l.Headers, l.Body)
}

// mentioned reports whether one of the guids stands in a text, and not as part
// of a longer one.
func (w *matcher) mentioned(text string) bool {
	for _, guid := range w.guids {
		for rest := text; ; {
			i := strings.Index(rest, guid)
			if i < 0 {
				break
			}
			end := i + len(guid)
			before := i == 0 || !events.ValidToken(rest[i-1:i])
			after := end == len(rest) || !events.ValidToken(rest[end:end+1])
			if before && after {
				return true
			}
			rest = rest[i+1:]
		}
	}
	return false
}
