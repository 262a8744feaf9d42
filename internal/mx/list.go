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
	errNoUser   = errors.New("no user has this id")
)

// Page is one page of a list.
type Page[T any] struct {
	// Records are those that could be read, in MX's order; Bad says of each other one why it could not, as a [BadAnswer].
	// A bad record does not hide the others.
	Records []T
	Bad     []error
	// Last tells that no page follows.
	Last bool
	// Total is the number of records on all pages, as MX counts them now; 0 when it does not say.
	Total int
}

// page is a page as it is read: in MX's order, the bad records among the others.
type page[T any] struct {
	records []record[T]
	last    bool
	total   int
}

type record[T any] struct {
	value T
	err   error
}

// UsersPage returns one page of the list of all users, counted from 1. A page beyond the last is empty and last. Users
// created or deleted between one page and the next move the others: one may be missed or come twice.
func (c *Client) UsersPage(ctx context.Context, n int) (Page[User], error) {
	return one(ctx, c, userList(), "users", n, decodeListedUser)
}

// MembersPage returns one page of the list of a user's members, as [Client.UsersPage] does of users. user is MX's guid or
// the partner's own id.
func (c *Client) MembersPage(ctx context.Context, user string, n int) (Page[Member], error) {
	if !validID(user) {
		return Page[Member]{}, &CallError{Kind: BadRequest, Op: OpListMembers, Err: errID}
	}
	return one(ctx, c, memberList(user), "members", n, decodeListedMember)
}

// UserByID finds a user by the partner's own id. The error is [NotFound] when MX has none.
func (c *Client) UserByID(ctx context.Context, id string) (User, error) {
	r := userList()
	r.user = id
	r.query = "id=" + url.QueryEscape(id) + "&"
	p, err := one(ctx, c, r, "users", 1, decodeListedUser)
	if err != nil {
		return User{}, err
	}
	for _, u := range p.Records {
		if u.ID != nil && *u.ID == id { // should MX not know the filter, it answers with all users
			return u, nil
		}
	}
	if len(p.Bad) > 0 {
		return User{}, p.Bad[0]
	}
	return User{}, &CallError{Kind: NotFound, Op: OpListUsers, StatusCode: http.StatusOK, Err: errNoUser}
}

// Users walks all users, in MX's order. An entry that cannot be read yields a [BadAnswer] and the walk goes on; any other
// error ends it. Users created or deleted meanwhile may be missed or come twice.
func (c *Client) Users(ctx context.Context) iter.Seq2[User, error] {
	return walk(ctx, c, userList(), "users", decodeListedUser)
}

// Members walks all members of a user, as [Client.Users] walks users. MX has no list of all members.
func (c *Client) Members(ctx context.Context, user string) iter.Seq2[Member, error] {
	if !validID(user) {
		return func(yield func(Member, error) bool) {
			yield(Member{}, &CallError{Kind: BadRequest, Op: OpListMembers, Err: errID})
		}
	}
	return walk(ctx, c, memberList(user), "members", decodeListedMember)
}

func userList() request {
	return request{op: OpListUsers, method: http.MethodGet, path: "/users", want: http.StatusOK}
}

func memberList(user string) request {
	return request{op: OpListMembers, method: http.MethodGet, path: "/users/" + url.PathEscape(user) + "/members", want: http.StatusOK, user: user}
}

// walk yields the records of page after page until MX says that there is no further one, or one is empty.
func walk[T any](ctx context.Context, c *Client, r request, list string, decode func(*scanner, *request) (T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		for n := 1; ; n++ {
			got, err := fetch(ctx, c, r, list, n, decode)
			if err != nil {
				yield(none, err)
				return
			}
			for _, rec := range got.records {
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

// one is a single page, its records sorted into good and bad ones.
func one[T any](ctx context.Context, c *Client, r request, list string, n int, decode func(*scanner, *request) (T, error)) (Page[T], error) {
	got, err := fetch(ctx, c, r, list, n, decode)
	if err != nil {
		return Page[T]{}, err
	}
	p := Page[T]{Last: got.last || len(got.records) == 0, Total: got.total}
	for _, rec := range got.records {
		if rec.err != nil {
			p.Bad = append(p.Bad, rec.err)
		} else {
			p.Records = append(p.Records, rec.value)
		}
	}
	return p, nil
}

// fetch asks for page n of the list that r is about.
func fetch[T any](ctx context.Context, c *Client, r request, list string, n int, decode func(*scanner, *request) (T, error)) (page[T], error) {
	r.page = n
	r.query += "page=" + strconv.Itoa(n) + "&records_per_page=" + strconv.Itoa(pageSize)
	got, err := call(ctx, c, &r, func(s *scanner, r *request) (page[T], error) { return decodeList(s, r, list, decode) })
	for i := range got.records {
		if bad := got.records[i].err; bad != nil {
			got.records[i].err = &CallError{Kind: BadAnswer, Op: r.op, StatusCode: r.want, Err: bad}
		}
	}
	return got, err
}

// decodeList reads {"<list>":[…],"pagination":{…}}.
func decodeList[T any](s *scanner, r *request, list string, decode func(*scanner, *request) (T, error)) (page[T], error) {
	var p page[T]
	var raw [][]byte
	found := false
	count := counts{page: r.page, pages: int(^uint(0) >> 1)} // Without pagination the walk ends with an empty page.
	for s.object(); s.nextKey(); {
		switch string(s.key) {
		case list:
			if found = !s.null(); found {
				raw = s.elements()
			}
		case "pagination":
			if !s.null() {
				count.read(s)
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
	case count.page != r.page:
		return page[T]{}, errPage // Or the walk might never end.
	}
	p.last, p.total = r.page >= count.pages, max(0, count.entries)
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

// counts is what MX says of a list beside its records.
type counts struct{ page, pages, entries int }

func (c *counts) read(s *scanner) {
	s.object()
	for s.scope = "pagination"; s.nextKey(); {
		switch string(s.key) {
		case "current_page":
			c.page = intOr(readInt(s), c.page)
		case "total_pages":
			c.pages = intOr(readInt(s), c.pages)
		case "total_entries":
			c.entries = intOr(readInt(s), c.entries)
		default:
			s.skip()
		}
	}
	s.scope = ""
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
