package member

import (
	"cmp"
	"encoding/binary"
	"time"

	"github.com/memberwatch/memberwatch/events"
)

// A packed state is, without padding:
//
//	mask        4 bytes, little endian: which of the following there are, and every flag
//	revision    uvarint
//	error code  varint
//	times       varint seconds since 1970, varint nanoseconds; each
//	texts       as [Words.Append] does; each
//	use_cases   uvarint count, then so many texts
//	missing     likewise
//
// It never leaves the process, so it has no version and no checksum.

const (
	textCount = 11
	ownCount  = 2 // of the texts are the member's alone, and so no words
	flagCount = 6
	timeCount = 2
)

const notPacked = "member: unpacking what Pack did not return"

// The bits of the mask.
const (
	oauthRequiredBit = iota
	provisionalBit
	deletedBit
	errorBit
	codeBit
	useCasesBit
	missingBit
	timesBit // one for each time
	textsBit = timesBit + timeCount
	flagsBit = textsBit + textCount // two for each flag: known, and true
	maskBits = flagsBit + 2*flagCount
)

const (
	_        = mask(1) << (maskBits - 1) // does not compile when there are too many bits
	maskSize = 4
)

type mask uint32

func (m *mask) put(bit int, on bool) {
	if on {
		*m |= 1 << bit
	}
}

func (m mask) has(bit int) bool { return m&(1<<bit) != 0 }

// textsOf, flagsOf and timesOf list the fields in the order in which they are
// packed. The status has a type of its own and so comes as a variable.
func textsOf(m *events.Member, status **string, e *events.Error) [textCount]**string {
	return [...]**string{
		&m.ID, &m.UserID, &m.Name, &m.InstitutionCode, &m.InstitutionGUID, status, &m.ConnectionStatusMessage,
		&e.Type, &e.Message, &e.UserMessage, &e.Locale,
	}
}

func flagsOf(m *events.Member) [flagCount]**bool {
	return [...]**bool{
		&m.IsBeingAggregated, &m.IsManagedByUser, &m.IsManual, &m.IsOAuth,
		&m.NeedsUpdatedCredentials, &m.BackgroundAggregationIsDisabled,
	}
}

func timesOf(m *events.Member) [timeCount]**time.Time {
	return [...]**time.Time{&m.AggregatedAt, &m.SuccessfullyAggregatedAt}
}

// Pack appends to b everything in the state except the two guids, which its key
// has, for [Unpack] with the same words: some 30 bytes and the texts that are no
// words. They hold no pointer for the garbage collector to follow; that is what
// makes remembering very many members cheap.
func (s *State) Pack(b []byte, words *Words) []byte {
	var (
		snapshot = &s.Snapshot
		status   = (*string)(snapshot.ConnectionStatus)
		fault    = cmp.Or(snapshot.Error, new(events.Error))
		texts    = textsOf(snapshot, &status, fault)
		m        mask
		start    = len(b)
	)
	m.put(oauthRequiredBit, s.OAuthRequired)
	m.put(provisionalBit, s.Provisional)
	m.put(deletedBit, s.Deleted)
	m.put(errorBit, snapshot.Error != nil)
	m.put(codeBit, fault.Code != nil)
	m.put(useCasesBit, snapshot.UseCases != nil)
	m.put(missingBit, snapshot.Missing != nil)
	for i, f := range flagsOf(snapshot) {
		m.put(flagsBit+2*i, *f != nil)
		m.put(flagsBit+2*i+1, isTrue(*f))
	}

	b = append(b, make([]byte, maskSize)...)
	b = binary.AppendUvarint(b, s.Revision)
	if fault.Code != nil {
		b = binary.AppendVarint(b, int64(*fault.Code))
	}
	for i, t := range timesOf(snapshot) {
		m.put(timesBit+i, *t != nil)
		if *t != nil {
			b = binary.AppendVarint(b, (*t).Unix())
			b = binary.AppendVarint(b, int64((*t).Nanosecond()))
		}
	}
	for i, t := range texts {
		m.put(textsBit+i, *t != nil)
		switch {
		case *t == nil:
		case i < ownCount:
			b = appendText(b, **t)
		default:
			b = words.Append(b, **t)
		}
	}
	b = words.appendList(b, snapshot.UseCases)
	b = words.appendList(b, snapshot.Missing)
	binary.LittleEndian.PutUint32(b[start:], uint32(m))
	return b
}

// appendList appends nothing for nil, which the mask tells from an empty list.
func (w *Words) appendList(b []byte, list []string) []byte {
	if list == nil {
		return b
	}
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, s := range list {
		b = w.Append(b, s)
	}
	return b
}

// values is what the pointers of an unpacked state point to, in one allocation.
type values struct {
	texts    [textCount]string
	flags    [flagCount]bool
	times    [timeCount]time.Time
	fault    events.Error
	code     int
	useCases [2]string // as many as MX has
}

// Unpack returns the state of the member k that [State.Pack] packed with the same
// words, its times in UTC. Its texts are parts of packed, so it takes no more than
// three allocations. It panics when packed is not what Pack returned.
func Unpack(packed string, k events.Key, words *Words) State {
	var (
		m      = mask(binary.LittleEndian.Uint32([]byte(packed[:maskSize])))
		r      = reader{packed: packed, at: maskSize, words: words}
		v      = new(values)
		status *string
	)
	s := State{
		Snapshot:      events.Member{GUID: k.Member(), UserGUID: k.User()},
		OAuthRequired: m.has(oauthRequiredBit),
		Provisional:   m.has(provisionalBit),
		Deleted:       m.has(deletedBit),
		Revision:      r.uvarint(),
	}
	if m.has(errorBit) {
		s.Snapshot.Error = &v.fault
	}
	if m.has(codeBit) {
		v.code = int(r.varint())
		v.fault.Code = &v.code
	}
	for i, f := range flagsOf(&s.Snapshot) {
		if m.has(flagsBit + 2*i) {
			v.flags[i] = m.has(flagsBit + 2*i + 1)
			*f = &v.flags[i]
		}
	}
	for i, t := range timesOf(&s.Snapshot) {
		if m.has(timesBit + i) {
			seconds, nanoseconds := r.varint(), r.varint()
			v.times[i] = time.Unix(seconds, nanoseconds).UTC()
			*t = &v.times[i]
		}
	}
	for i, t := range textsOf(&s.Snapshot, &status, &v.fault) {
		if m.has(textsBit + i) {
			v.texts[i] = r.text()
			*t = &v.texts[i]
		}
	}
	s.Snapshot.ConnectionStatus = (*events.Status)(status)
	if m.has(useCasesBit) {
		s.Snapshot.UseCases = r.list(v.useCases[:])
	}
	if m.has(missingBit) {
		s.Snapshot.Missing = r.list([]string{})
	}
	return s
}

// reader reads a packed state. Every read moves on by at least a byte or panics,
// so that none goes on for ever, whatever the bytes are.
type reader struct {
	packed string
	at     int
	words  *Words
}

func (r *reader) uvarint() uint64 {
	v, n := Uvarint(r.packed[r.at:])
	r.skip(n)
	return v
}

func (r *reader) varint() int64 {
	v, n := Varint(r.packed[r.at:])
	r.skip(n)
	return v
}

func (r *reader) skip(n int) {
	if n <= 0 {
		panic(notPacked)
	}
	r.at += n
}

func (r *reader) text() (text string) {
	text, r.at = r.words.Text(r.packed, r.at)
	return text
}

// list reads a list into room when that is enough. The result is not nil.
func (r *reader) list(room []string) []string {
	count := r.uvarint()
	if count > uint64(len(r.packed)) { // each takes a byte or more
		panic(notPacked)
	}
	n := int(count) //nolint:gosec // As above.
	if n > len(room) {
		room = make([]string, n)
	}
	list := room[:n]
	for i := range list {
		list[i] = r.text()
	}
	return list
}
