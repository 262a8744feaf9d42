package events

import (
	"fmt"
	"strings"
)

// Subjects builds and reads the subjects and stream names of one installation,
// whose name (SUBJECT_PREFIX) is the first token of each.
//
// A [Key] is safe by itself. What else becomes a token is a constant of the
// program, or was checked where it came in; each builder says what it wants, and
// does not look again. A text that was not checked could make a filter, or
// another's subject, of what it builds.
type Subjects struct{ prefix string }

// DefaultPrefix is the SUBJECT_PREFIX of an installation that sets none.
const DefaultPrefix = "mx"

// NewSubjects returns the subjects below prefix, which must be one token.
func NewSubjects(prefix string) (Subjects, error) {
	if !ValidToken(prefix) || len(prefix) > 32 {
		return Subjects{}, fmt.Errorf("subject prefix %q: want one token of 1 to 32 letters, digits, _ or -", clip(prefix))
	}
	return Subjects{prefix}, nil
}

// Prefix is the first token of every subject.
func (s Subjects) Prefix() string { return s.prefix }

func (s Subjects) stream(name string) string { return strings.ToUpper(s.prefix) + "_" + name }

// CommandStream is the work queue that holds commands.
func (s Subjects) CommandStream() string { return s.stream("COMMANDS") }

// BackgroundStream is the work queue, with schedules, of the slow lane.
func (s Subjects) BackgroundStream() string { return s.stream("BACKGROUND") }

// EventStream holds every member's events, and so its last state.
func (s Subjects) EventStream() string { return s.stream(string(StreamEvents)) }

// OAuthStream holds the announcements that carry an OAuth URI.
func (s Subjects) OAuthStream() string { return s.stream(string(StreamOAuth)) }

// DeadLetterStream holds what could not be carried out.
func (s Subjects) DeadLetterStream() string { return s.stream("DEADLETTERS") }

// IDBucket is the key-value bucket of partners' own ids.
func (s Subjects) IDBucket() string { return s.stream("IDS") }

// Commands is the filter of everything the command stream takes.
func (s Subjects) Commands() string { return s.prefix + ".commands.>" }

// Refresh is the subject of refresh commands whose body names the member.
func (s Subjects) Refresh() string { return s.prefix + ".commands.member.refresh" }

// RefreshOf is the subject of a refresh command that needs no body. user and
// member are guids or partner ids; each must be a [ValidToken].
func (s Subjects) RefreshOf(user, member string) (string, error) {
	k, err := NewKey(user, member)
	if err != nil {
		return "", fmt.Errorf("building refresh subject (use the body for ids that are no token): %w", err)
	}
	return s.Refresh() + "." + k.user + "." + k.member, nil
}

// ParseRefresh reads a refresh command's subject. named tells whether it names
// the member; ok whether it is a refresh at all.
func (s Subjects) ParseRefresh(subject string) (user, member string, named, ok bool) {
	rest, ok := strings.CutPrefix(subject, s.Refresh())
	if !ok {
		return "", "", false, false
	}
	if rest == "" {
		return "", "", false, true
	}
	t := strings.Split(rest, ".")
	if len(t) != 3 || t[0] != "" || t[1] == "" || t[2] == "" {
		return "", "", false, false
	}
	return t[1], t[2], true, true
}

// Events is the filter of the whole event stream.
func (s Subjects) Events() string { return s.prefix + ".events.member.*.*.*" }

// EventsOf is the filter of one member's events. The compare-and-swap that
// guards the event stream names exactly this string: two spellings of one set
// guard nothing, so nobody may build it elsewhere.
func (s Subjects) EventsOf(k Key) string {
	return s.prefix + ".events.member.*." + k.user + "." + k.member
}

// EventsOfUser is the filter of the events of all of a user's members. user is MX's
// guid, which must be a [ValidToken].
func (s Subjects) EventsOfUser(user string) (string, error) {
	if !ValidToken(user) {
		return "", fmt.Errorf("user: %q is not a guid", clip(user))
	}
	return s.prefix + ".events.member.*." + user + ".*", nil
}

// Event is where an event of type t is published. t is of the catalog, made by
// [Status.Type], or that of an event that was read.
func (s Subjects) Event(t Type, k Key) string {
	return s.prefix + ".events.member." + t.Token() + "." + k.user + "." + k.member
}

// ParseEvent reads the subject of an event or an announcement.
func (s Subjects) ParseEvent(subject string) (t Type, k Key, ok bool) {
	rest, ok := strings.CutPrefix(subject, s.prefix+".events.member.")
	if !ok {
		if rest, ok = strings.CutPrefix(subject, s.prefix+".oauth.member."); !ok {
			return "", Key{}, false
		}
	}
	p := strings.Split(rest, ".")
	if len(p) != 3 || !ValidToken(p[0]) {
		return "", Key{}, false
	}
	k, err := NewKey(p[1], p[2])
	return Type(typeRoot + p[0]), k, err == nil
}

// OAuth is the filter of the whole OAuth stream.
func (s Subjects) OAuth() string { return s.prefix + ".oauth.member.oauth_required.*.*" }

// OAuthOf is where a member's announcements are published.
func (s Subjects) OAuthOf(k Key) string {
	return s.prefix + ".oauth.member.oauth_required." + k.user + "." + k.member
}

// Results is the filter of all results.
func (s Subjects) Results() string { return s.prefix + ".results.member.refresh.*" }

// Result is where the result of a command is sent, once, without storage.
// commandID must be a [ValidToken], as [Command.Validate] wants it.
func (s Subjects) Result(commandID string) string {
	return s.prefix + ".results.member.refresh." + commandID
}

// API is where requests to an endpoint of the service are sent: one of
// [Endpoints], such as [APIRefresh]. The answer comes to the reply subject.
func (s Subjects) API(endpoint string) string { return s.prefix + ".api.member." + endpoint }

// DeadLetters is the filter of all dead letters.
func (s Subjects) DeadLetters() string { return s.prefix + ".deadletters.*" }

// DeadLetter is where dead letters of a category are kept: one of [Categories], or
// another [ValidToken].
func (s Subjects) DeadLetter(c Category) string { return s.prefix + ".deadletters." + string(c) }

// Background is the filter of everything in the slow lane's stream.
func (s Subjects) Background() string { return s.prefix + ".background.>" }

// BackgroundDue is the filter of the slow lane's messages whose time has come.
func (s Subjects) BackgroundDue() string { return s.prefix + ".background.due.*.*" }

// BackgroundAt is where a member's scheduled read waits. cause must be a [ValidToken].
func (s Subjects) BackgroundAt(cause string, k Key) string {
	return s.prefix + ".background.at." + cause + "." + k.user + "." + k.member
}

// BackgroundAtAny is the filter of what waits for one cause, of all members. cause
// must be a [ValidToken].
func (s Subjects) BackgroundAtAny(cause string) string {
	return s.prefix + ".background.at." + cause + ".*.*"
}

// ChainRecord is where a walk over all members, such as a sweep, keeps how far it
// has come. name must be a [ValidToken].
func (s Subjects) ChainRecord(name string) string { return s.prefix + ".background.chain." + name }

// BackgroundDueOf is where a member's scheduled reads arrive.
func (s Subjects) BackgroundDueOf(k Key) string {
	return s.prefix + ".background.due." + k.user + "." + k.member
}

// ParseBackground reads a subject of the slow lane. cause is empty for a
// message whose time has come.
func (s Subjects) ParseBackground(subject string) (cause string, k Key, ok bool) {
	rest, ok := strings.CutPrefix(subject, s.prefix+".background.")
	if !ok {
		return "", Key{}, false
	}
	p := strings.Split(rest, ".")
	switch {
	case len(p) == 3 && p[0] == "due":
		k, err := NewKey(p[1], p[2])
		return "", k, err == nil
	case len(p) == 4 && p[0] == "at" && ValidToken(p[1]):
		k, err := NewKey(p[2], p[3])
		return p[1], k, err == nil
	}
	return "", Key{}, false
}
