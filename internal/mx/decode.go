package mx

import (
	"errors"
	"time"
	"unicode/utf8"
)

// What makes an answer bad although all of it is JSON of the right types. The texts name the field and never its value.
var (
	errNoMember    = errors.New("member: missing or null")
	errGUID        = errors.New("member.guid: missing or not a guid")
	errUserGUID    = errors.New("member.user_guid: missing or not a guid")
	errOtherMember = errors.New("member.guid: another member than asked for")
	errOtherUser   = errors.New("member.user_guid: another user than asked for")
	errStatus      = errors.New("member.connection_status: want the name of a status")
)

// The order of a Member's optional fields in memberDraft and memberStore.
const (
	textID = iota
	textUserID
	textName
	textInstitutionCode
	textInstitutionGUID
	textStatus
	textStatusMessage
	numTexts
)

const (
	flagIsOAuth = iota
	flagIsManual
	flagIsManagedByUser
	flagIsBeingAggregated
	flagBackgroundAggregationIsDisabled
	flagNeedsUpdatedCredentials
	numFlags
)

const (
	timeAggregated = iota
	timeSuccessfullyAggregated
	numTimes
)

// memberDraft is a member while it is read: spans of the arena instead of strings.
type memberDraft struct {
	guid, userGUID span
	texts          [numTexts]span
	flags          [numFlags]flag
	times          [numTimes]time.Time // zero: unknown
	useCases       []string
	memberError    *Error
	uri            URI
}

// textFields returns MX's names of the texts, in their order.
func textFields() [numTexts]string {
	return [numTexts]string{
		textID: "id", textUserID: "user_id", textName: "name", textInstitutionCode: "institution_code",
		textInstitutionGUID: "institution_guid", textStatus: "connection_status", textStatusMessage: "connection_status_message",
	}
}

// memberStore is what a Member's pointers point into: one allocation instead of a dozen.
type memberStore struct {
	texts [numTexts]string
	flags [numFlags]bool
	times [numTimes]time.Time
}

// decodeMember reads {"member":{…}}, the answer to r.
func decodeMember(s *scanner, r *request) (Member, error) {
	var draft memberDraft
	found := false
	for s.object(); s.nextKey(); {
		if string(s.key) == "member" {
			found = draft.read(s)
		} else {
			s.skip()
		}
	}
	if err := s.done(); err != nil {
		return Member{}, err
	}
	if !found {
		return Member{}, errNoMember
	}
	return draft.member(string(s.arena), r)
}

// read makes d the member at hand, and reports false for null. Of a key that comes twice, the last one counts.
func (d *memberDraft) read(s *scanner) bool {
	*d = memberDraft{}
	if s.null() {
		return false
	}
	s.object()
	for s.scope = "member"; s.nextKey(); {
		begin := s.mark()
		switch string(s.key) {
		case "guid":
			d.guid = s.text()
		case "user_guid":
			d.userGUID = s.text()
		case "id":
			d.texts[textID] = s.text()
		case "user_id":
			d.texts[textUserID] = s.text()
		case "name":
			d.texts[textName] = s.text()
		case "institution_code":
			d.texts[textInstitutionCode] = s.text()
		case "institution_guid":
			d.texts[textInstitutionGUID] = s.text()
		case "connection_status":
			d.texts[textStatus] = s.text()
		case "connection_status_message":
			d.texts[textStatusMessage] = s.text()
		case "is_oauth":
			d.flags[flagIsOAuth] = s.bool()
		case "is_manual":
			d.flags[flagIsManual] = s.bool()
		case "is_managed_by_user":
			d.flags[flagIsManagedByUser] = s.bool()
		case "is_being_aggregated":
			d.flags[flagIsBeingAggregated] = s.bool()
		case "background_aggregation_is_disabled":
			d.flags[flagBackgroundAggregationIsDisabled] = s.bool()
		case "needs_updated_credentials":
			d.flags[flagNeedsUpdatedCredentials] = s.bool()
		case "aggregated_at":
			d.times[timeAggregated] = readTime(s)
		case "successfully_aggregated_at":
			d.times[timeSuccessfullyAggregated] = readTime(s)
		case "use_cases":
			d.useCases = readUseCases(s)
		case "error":
			d.memberError = readMemberError(s)
		case "oauth_window_uri":
			d.uri = readURI(s)
		default:
			s.skip()
		}
		if s.err != nil && optional(string(begin.key)) {
			s.passOver(begin)
		}
	}
	s.scope = ""
	return true
}

// member makes the draft a Member, or says why it cannot be the answer to r. arena is the scanner's.
func (d *memberDraft) member(arena string, r *request) (Member, error) {
	m := Member{
		GUID:           d.guid.of(arena),
		UserGUID:       d.userGUID.of(arena),
		UseCases:       d.useCases,
		Error:          d.memberError,
		OAuthWindowURI: d.uri,
	}
	// No field is required of MX, and these two we know when they were asked for.
	if m.GUID == "" && isMemberGUID(r.member) {
		m.GUID = r.member
	}
	if m.UserGUID == "" && isUserGUID(r.user) {
		m.UserGUID = r.user
	}
	switch {
	case !validGUID(m.GUID):
		return Member{}, errGUID
	case !validGUID(m.UserGUID):
		return Member{}, errUserGUID
	case isMemberGUID(r.member) && r.member != m.GUID:
		return Member{}, errOtherMember
	case isUserGUID(r.user) && r.user != m.UserGUID:
		return Member{}, errOtherUser
	}
	if status := d.texts[textStatus]; status.ok && status.from == status.to {
		d.texts[textStatus] = span{null: true} // MX writes "" as well as null.
	} else if status.ok && !validStatus(status.of(arena)) {
		return Member{}, errStatus
	}

	store := new(memberStore)
	for i, text := range d.texts {
		store.texts[i] = clip(text.of(arena))
	}
	text := func(i int) *string {
		if !d.texts[i].ok {
			return nil
		}
		return &store.texts[i]
	}
	m.ID, m.UserID, m.Name = text(textID), text(textUserID), text(textName)
	m.InstitutionCode, m.InstitutionGUID = text(textInstitutionCode), text(textInstitutionGUID)
	m.ConnectionStatus, m.ConnectionStatusMessage = text(textStatus), text(textStatusMessage)

	for i, text := range d.texts {
		if !text.ok && !text.null {
			m.Absent = append(m.Absent, textFields()[i])
		}
	}

	flag := func(i int) *bool {
		if d.flags[i] == unknown {
			return nil
		}
		store.flags[i] = d.flags[i] == yes
		return &store.flags[i]
	}
	m.IsOAuth, m.IsManual, m.IsManagedByUser = flag(flagIsOAuth), flag(flagIsManual), flag(flagIsManagedByUser)
	m.IsBeingAggregated = flag(flagIsBeingAggregated)
	m.BackgroundAggregationIsDisabled = flag(flagBackgroundAggregationIsDisabled)
	m.NeedsUpdatedCredentials = flag(flagNeedsUpdatedCredentials)

	at := func(i int) *time.Time {
		if d.times[i].IsZero() {
			return nil
		}
		store.times[i] = d.times[i]
		return &store.times[i]
	}
	m.AggregatedAt, m.SuccessfullyAggregatedAt = at(timeAggregated), at(timeSuccessfullyAggregated)
	return m, nil
}

// readTime reads a time in any of the forms MX uses, all of which are RFC 3339; zero for null and "".
func readTime(s *scanner) time.Time {
	if s.peek() != '"' {
		if !s.null() {
			s.wrongType("a time or null")
		}
		return time.Time{}
	}
	raw := s.plain()
	if len(raw) == 0 {
		return time.Time{}
	}
	var at time.Time
	if err := at.UnmarshalText(raw); err != nil { // Stricter than time.Parse, and without a string.
		s.invalid("an RFC 3339 time")
		return time.Time{}
	}
	at = at.UTC()
	if y := at.Year(); y < 0 || y > 9999 { // No event could say what the end of 9999 is farther east.
		s.invalid("a time whose year has four digits in UTC")
		return time.Time{}
	}
	return at
}

// maxUseCases bounds the use cases of a member, of which MX has two, for what bounds its texts. Of more none is taken: they
// are a set, and with some of them in another order the next read would seem to tell of a change.
const maxUseCases = 64

// readUseCases reads an array of strings; nil for null.
func readUseCases(s *scanner) []string {
	if s.null() {
		return nil
	}
	cases := []string{}
	for s.array(); s.nextElement(); {
		if s.null() {
			continue
		}
		text := s.text()
		if s.err != nil {
			return nil
		}
		if len(cases) == maxUseCases || text.to-text.from > maxNameLen {
			s.invalid("64 names of 64 bytes at most")
			return nil
		}
		switch word := s.arena[text.from:text.to]; string(word) {
		case "": // Says as little as null.
		case "PFM":
			cases = append(cases, "PFM")
		case "MONEY_MOVEMENT":
			cases = append(cases, "MONEY_MOVEMENT")
		default:
			cases = append(cases, string(word))
		}
		s.arena = s.arena[:text.from]
	}
	if s.err != nil {
		return nil
	}
	return cases
}

// readURI reads a URI or null. It gets a string of its own, so that who keeps another of the member's texts does not keep it.
func readURI(s *scanner) URI {
	text := s.text()
	if !text.ok {
		return ""
	}
	uri := URI(s.arena[text.from:text.to])
	s.arena = s.arena[:text.from]
	return uri
}

// maxText bounds each text of a member in bytes, many times what MX writes: an event holds every one twice at most, and
// must not outgrow what NATS takes, 1 MiB by default.
const maxText = 4 << 10

// clip cuts a text to maxText, between two characters.
func clip(s string) string {
	if len(s) <= maxText {
		return s
	}
	end := maxText - len("…")
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}

// of returns the span's text, "" for null.
func (t span) of(arena string) string { return arena[t.from:t.to] }
