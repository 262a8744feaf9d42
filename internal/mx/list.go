package mx

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"net/url"
	"strconv"
)

// pageSize is how many records a page holds. MX takes 10 to 1000, and above that silently 25; a thousand members would
// not fit into maxBody.
const pageSize = 250

var (
	errNoList   = errors.New("list: missing or null")
	errPage     = errors.New("pagination.current_page: another page than asked for")
	errListUser = errors.New("users.guid: missing or not a guid")
)

// page is one page of a list. Its records are decoded one by one, so that a bad one does not hide the others.
type page[T any] struct {
	records []record[T]
	last    bool
}

type record[T any] struct {
	value T
	err   error
}

// Users walks all users, in MX's order. An entry that cannot be read yields a [BadAnswer] and the walk goes on; any other
// error ends it. Users created or deleted meanwhile may be missed or come twice.
func (c *Client) Users(ctx context.Context) iter.Seq2[User, error] {
	return walk(ctx, c, request{op: OpListUsers, path: "/users"}, "users", decodeListedUser)
}

// Members walks all members of a user, as [Client.Users] walks users. MX has no list of all members.
func (c *Client) Members(ctx context.Context, user string) iter.Seq2[Member, error] {
	if !validID(user) {
		return func(yield func(Member, error) bool) {
			yield(Member{}, &CallError{Kind: BadRequest, Op: OpListMembers, Err: errID})
		}
	}
	r := request{op: OpListMembers, path: "/users/" + url.PathEscape(user) + "/members", user: user}
	return walk(ctx, c, r, "members", decodeListedMember)
}

// walk yields the records of page after page until MX says that there is no further one, or one is empty.
func walk[T any](ctx context.Context, c *Client, r request, list string, decode func(*scanner, *request) (T, error)) iter.Seq2[T, error] {
	r.method, r.want = http.MethodGet, http.StatusOK
	decodePage := func(s *scanner, r *request) (page[T], error) { return decodeList(s, r, list, decode) }
	return func(yield func(T, error) bool) {
		var none T
		for r, n := r, 1; ; n++ {
			r.page = n
			r.query = "page=" + strconv.Itoa(n) + "&records_per_page=" + strconv.Itoa(pageSize)
			got, err := call(ctx, c, &r, decodePage)
			if err != nil {
				yield(none, err)
				return
			}
			for _, rec := range got.records {
				if rec.err != nil {
					rec.err = &CallError{Kind: BadAnswer, Op: r.op, StatusCode: r.want, Err: rec.err}
				}
				if !yield(rec.value, rec.err) {
					return
				}
			}
			if got.last || len(got.records) == 0 {
				return
			}
		}
	}
}

// decodeList reads {"<list>":[…],"pagination":{…}}.
func decodeList[T any](s *scanner, r *request, list string, decode func(*scanner, *request) (T, error)) (page[T], error) {
	var p page[T]
	var raw [][]byte
	found := false
	current, total := r.page, int(^uint(0)>>1) // Without pagination the walk ends with an empty page.
	for s.object(); s.nextKey(); {
		switch string(s.key) {
		case list:
			if found = !s.null(); found {
				raw = s.elements()
			}
		case "pagination":
			if !s.null() {
				current, total = readPagination(s, current, total)
			}
		default:
			s.skip()
		}
	}
	if err := s.done(); err != nil {
		return page[T]{}, err
	}
	switch {
	case !found:
		return page[T]{}, errNoList
	case current != r.page:
		return page[T]{}, errPage // Or the walk might never end.
	}
	p.last = r.page >= total
	p.records = make([]record[T], len(raw))
	for i, data := range raw {
		element := scanner{data: data, arena: s.arena[:0]}
		p.records[i].value, p.records[i].err = decode(&element, r)
		s.arena = element.arena
	}
	return p, nil
}

// elements passes an array and returns the text of each element.
func (s *scanner) elements() [][]byte {
	var all [][]byte
	for s.array(); s.nextElement(); {
		s.peek()
		from := s.pos
		s.skip()
		all = append(all, s.data[from:s.pos])
	}
	return all
}

func readPagination(s *scanner, current, total int) (int, int) {
	s.object()
	for s.scope = "pagination"; s.nextKey(); {
		switch string(s.key) {
		case "current_page":
			current = intOr(readInt(s), current)
		case "total_pages":
			total = intOr(readInt(s), total)
		default:
			s.skip()
		}
	}
	s.scope = ""
	return current, total
}

func intOr(n *int, otherwise int) int {
	if n == nil {
		return otherwise
	}
	return *n
}

// decodeListedMember reads a member that stands alone.
func decodeListedMember(s *scanner, r *request) (Member, error) {
	var draft memberDraft
	draft.read(s)
	if err := s.done(); err != nil {
		return Member{}, err
	}
	return draft.member(string(s.arena), r)
}

// decodeListedUser reads a user that stands alone. Its e-mail address and metadata are nobody's business.
func decodeListedUser(s *scanner, _ *request) (User, error) {
	var guid, id span
	var disabled flag
	s.object()
	for s.scope = "users"; s.nextKey(); {
		switch string(s.key) {
		case "guid":
			guid = s.text()
		case "id":
			id = s.text()
		case "is_disabled":
			disabled = s.bool()
		default:
			s.skip()
		}
	}
	if err := s.done(); err != nil {
		return User{}, err
	}
	arena := string(s.arena)
	user := User{GUID: guid.of(arena)}
	if !validGUID(user.GUID) {
		return User{}, errListUser
	}
	if id.ok {
		user.ID = new(id.of(arena))
	}
	if disabled != unknown {
		user.IsDisabled = new(disabled == yes)
	}
	return user, nil
}
