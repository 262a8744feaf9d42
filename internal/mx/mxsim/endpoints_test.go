package mxsim_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"testing"

	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
)

func TestReadMemberHasTheFieldsOfMX(t *testing.T) {
	t.Parallel()
	s := start(t, mxsim.Config{})
	text, err := os.ReadFile("testdata/read_member.json")
	must(t, err)
	var fixture map[string]map[string]any
	must(t, json.Unmarshal(text, &fixture))

	got := s.read(t, s.add(t, mxsim.Patch{"id": "mine"}))
	want := slices.Sorted(maps.Keys(fixture["member"]))
	if names := slices.Sorted(maps.Keys(got)); !slices.Equal(names, want) {
		t.Errorf("fields\n %v, want\n %v", names, want)
	}
	if got["connection_status"] != "CONNECTED" || got["id"] != "mine" || got["aggregated_at"] != "2026-03-01T12:00:00.000Z" {
		t.Errorf("unexpected member %v", got)
	}
}

func TestCredentialsAndVersionAreChecked(t *testing.T) {
	t.Parallel()
	s := start(t, mxsim.Config{AcceptVersions: []string{"v20250224", "v20111101"}})
	m := s.add(t, nil)
	for _, tt := range []struct {
		name   string
		change func(*http.Request)
		want   int
	}{
		{"right", func(*http.Request) {}, 200},
		{"scheme in lower case", func(r *http.Request) {
			r.Header.Set("Authorization", "b"+r.Header.Get("Authorization")[1:])
		}, 200},
		{"another accepted version", func(r *http.Request) { r.Header.Set("Accept-Version", "v20111101") }, 200},
		{"no credentials", func(r *http.Request) { r.Header.Del("Authorization") }, 401},
		{"wrong key", func(r *http.Request) { r.SetBasicAuth(mxsim.DefaultClientID, "x") }, 401},
		{"wrong id", func(r *http.Request) { r.SetBasicAuth("x", mxsim.DefaultAPIKey) }, 401},
		{"no version", func(r *http.Request) { r.Header.Del("Accept-Version") }, 406},
		{"wrong version", func(r *http.Request) { r.Header.Set("Accept-Version", "v1") }, 406},
	} {
		req := s.request(t, http.MethodGet, path(m), "")
		tt.change(req)
		resp, err := s.do(req)
		must(t, err)
		if resp.status != tt.want {
			t.Errorf("%s: status %d, want %d", tt.name, resp.status, tt.want)
		}
	}
}

func TestUserAndMemberAreFoundByGuidOrEscapedID(t *testing.T) {
	t.Parallel()
	s := start(t, mxsim.Config{})
	u, err := s.AddUser(mxsim.User{ID: new("a/b c@d.e")})
	must(t, err)
	m := s.addTo(t, u.GUID, mxsim.Patch{"id": "x-1_y"})
	other := s.add(t, mxsim.Patch{"id": "x-2"})

	for _, user := range []string{u.GUID, *u.ID} {
		for _, member := range []string{m.GUID, "x-1_y"} {
			got := s.get(t, "/users/"+url.PathEscape(user)+"/members/"+member).member(t, 200)
			if got["guid"] != m.GUID || got["user_guid"] != u.GUID || got["user_id"] != *u.ID || got["id"] != "x-1_y" {
				t.Errorf("%s, %s: %v", user, member, got)
			}
		}
	}
	for _, wrong := range []string{
		"/users/" + u.GUID + "/members/" + other.GUID, "/users/" + u.GUID + "/members/x-2", "/users/nobody/members/x-1_y",
		"/users/" + u.GUID + "/members/", "/users/" + u.GUID, "/", path(m) + "/accounts", path(m) + "/status/x",
	} {
		if resp := s.get(t, wrong); resp.status != http.StatusNotFound {
			t.Errorf("%s: status %d", wrong, resp.status)
		}
	}
	if resp := s.call(t, http.MethodPost, path(m), ""); resp.status != http.StatusMethodNotAllowed {
		t.Errorf("POST: status %d", resp.status)
	}
}

func TestANewIDReplacesTheOldOne(t *testing.T) {
	t.Parallel()
	s := start(t, mxsim.Config{})
	m := s.add(t, mxsim.Patch{"id": "old"})
	s.addTo(t, m.UserGUID, mxsim.Patch{"id": "taken"})
	must(t, s.Set(m.GUID, mxsim.Patch{"id": "new"}))
	members := "/users/" + m.UserGUID + "/members/"
	if got := s.get(t, members+"new").member(t, 200); got["guid"] != m.GUID {
		t.Errorf("by the new id: %v", got)
	}
	if resp := s.get(t, members+"old"); resp.status != 404 {
		t.Errorf("by the old id: status %d", resp.status)
	}
	if err := s.Set(m.GUID, mxsim.Patch{"id": "taken"}); err == nil {
		t.Error("an id was given twice")
	}
	must(t, s.SetUser(mxsim.User{GUID: m.UserGUID, ID: new("boss")}))
	if got := s.get(t, "/users/boss/members/new").member(t, 200); got["user_id"] != "boss" {
		t.Errorf("user_id %v", got["user_id"])
	}
}

func TestStatusEndpointIsSmaller(t *testing.T) {
	t.Parallel()
	s := start(t, mxsim.Config{})
	m := s.add(t, mxsim.Patch{"is_oauth": true})
	got := s.get(t, path(m)+"/status").member(t, 200)
	if got["guid"] != m.GUID || got["connection_status"] != "PENDING" {
		t.Errorf("member %v", got)
	}
	for _, name := range []string{"error", "oauth_window_uri", "connection_status_message", "is_oauth", "name"} {
		if _, ok := got[name]; ok {
			t.Errorf("status has %s", name)
		}
	}
}

func TestListsPageAsMXDoes(t *testing.T) {
	t.Parallel()
	s := start(t, mxsim.Config{})
	refs, err := s.AddBulk(mxsim.Bulk{Users: 1, MembersPerUser: 1201})
	must(t, err)
	user := "/users/" + refs[0].UserGUID + "/members"
	for _, tt := range []struct {
		query                        string
		number, size, pages, entries int
		first                        int
	}{
		{"", 1, 25, 49, 25, 0},
		{"?page=2", 2, 25, 49, 25, 25},
		{"?records_per_page=10&page=121", 121, 10, 121, 1, 1200},
		{"?records_per_page=1000", 1, 1000, 2, 1000, 0},
		{"?records_per_page=1001", 1, 25, 49, 25, 0},
		{"?records_per_page=9", 1, 25, 49, 25, 0},
		{"?records_per_page=many&page=-1", 1, 25, 49, 25, 0},
		{"?page=50", 50, 25, 49, 0, 0},
		{"?page=9223372036854775807", 9223372036854775807, 25, 49, 0, 0},
	} {
		var got struct {
			Members []struct {
				GUID string `json:"guid"`
			} `json:"members"`
			Pagination struct {
				CurrentPage  int `json:"current_page"`
				PerPage      int `json:"per_page"`
				TotalEntries int `json:"total_entries"`
				TotalPages   int `json:"total_pages"`
			} `json:"pagination"`
		}
		must(t, json.Unmarshal(s.get(t, user+tt.query).body, &got))
		p := got.Pagination
		if p.CurrentPage != tt.number || p.PerPage != tt.size || p.TotalEntries != 1201 || p.TotalPages != tt.pages {
			t.Errorf("%s: pagination %+v", tt.query, p)
		}
		if len(got.Members) != tt.entries || tt.entries > 0 && got.Members[0].GUID != refs[tt.first].GUID {
			t.Errorf("%s: %d members", tt.query, len(got.Members))
		}
	}
}

func TestUsersAreListedAndFiltered(t *testing.T) {
	t.Parallel()
	s := start(t, mxsim.Config{})
	for i := range 30 {
		_, err := s.AddUser(mxsim.User{ID: new(fmt.Sprint("u", i)), Email: new(fmt.Sprint(i%3, "@x.example")), IsDisabled: i%10 == 0})
		must(t, err)
	}
	for query, want := range map[string]int{
		"": 25, "?page=2": 5, "?records_per_page=100": 30, "?id=u7": 1, "?id=none": 0,
		"?email=1@x.example": 10, "?is_disabled=true": 3, "?is_disabled=false&email=0@x.example&records_per_page=50": 9,
	} {
		users, ok := s.get(t, "/users"+query).object(t, 200)["users"].([]any)
		if !ok || len(users) != want {
			t.Errorf("/users%s: %d users, want %d", query, len(users), want)
		}
	}
	first := as[map[string]any](t, as[[]any](t, s.get(t, "/users").object(t, 200)["users"])[0])
	if names := slices.Sorted(maps.Keys(first)); !slices.Equal(names, []string{"email", "guid", "id", "is_disabled", "metadata"}) {
		t.Errorf("user has %v", names)
	}
}

func TestOAuthWindowURIDiffersAtEachCallAndMindsItsParameters(t *testing.T) {
	t.Parallel()
	s := start(t, mxsim.Config{})
	m := s.add(t, mxsim.Patch{"is_oauth": true})
	uri := path(m) + "/oauth_window_uri"
	seen := map[any]bool{}
	for _, query := range []string{
		"", "", "?referral_source=BROWSER", "?referral_source=APP&client_redirect_url=app%3A%2F%2Fback&skip_aggregation=true",
	} {
		got := s.get(t, uri+query).member(t, 200)
		if len(got) != 2 || got["guid"] != m.GUID || seen[got["oauth_window_uri"]] {
			t.Errorf("%s: %v", query, got)
		}
		seen[got["oauth_window_uri"]] = true
		parsed, err := url.Parse(as[string](t, got["oauth_window_uri"]))
		if err != nil {
			t.Fatal(err)
		}
		asked, err := url.ParseQuery(query[min(1, len(query)):])
		must(t, err)
		for name := range asked {
			if parsed.Query().Get(name) != asked.Get(name) {
				t.Errorf("%s: the URI has %s=%q", query, name, parsed.Query().Get(name))
			}
		}
		if shown := s.read(t, m)["oauth_window_uri"]; shown != got["oauth_window_uri"] {
			t.Errorf("read shows %v, not the newest URI", shown)
		}
	}
	for _, query := range []string{
		"?client_redirect_url=app%3A%2F%2Fback", "?referral_source=BROWSER&client_redirect_url=x", "?referral_source=FAX",
	} {
		if resp := s.get(t, uri+query); resp.status != http.StatusBadRequest {
			t.Errorf("%s: status %d", query, resp.status)
		}
	}
	plain := s.add(t, nil)
	if resp := s.get(t, path(plain)+"/oauth_window_uri"); resp.status != http.StatusBadRequest {
		t.Errorf("not OAuth: status %d", resp.status)
	}
	connected := s.add(t, mxsim.Patch{"is_oauth": true, "connection_status": "CONNECTED"})
	s.get(t, path(connected)+"/oauth_window_uri").member(t, 200)
	if got := s.read(t, connected)["oauth_window_uri"]; got != nil {
		t.Errorf("asking for a URI made a read show one: %v", got)
	}
}

func TestAStatusNameNamesASyntheticMember(t *testing.T) {
	t.Parallel()
	s := start(t, mxsim.Config{Seed: 7})
	u, err := s.AddUser(mxsim.User{GUID: "USR-1"})
	must(t, err)
	members := "/users/USR-1/members/"
	guids := map[any]bool{}
	for _, status := range mxsim.Statuses() {
		got := s.get(t, members+status).member(t, 200)
		if got["connection_status"] != status || got["user_guid"] != u.GUID || blankMessage(got) {
			t.Errorf("%s: %v", status, got)
		}
		guids[got["guid"]] = true
	}
	if len(guids) != 22 {
		t.Errorf("%d guids for 22 statuses", len(guids))
	}
	lower := s.get(t, members+"challenged").member(t, 200)
	byGUID := s.get(t, members+as[string](t, lower["guid"])).member(t, 200)
	if byGUID["connection_status"] != "CHALLENGED" {
		t.Errorf("by guid: %v", byGUID)
	}
	if list, ok := s.get(t, members[:len(members)-1]).object(t, 200)["members"].([]any); !ok || len(list) != 0 {
		t.Errorf("synthetic members are listed: %v", list)
	}

	// Another simulator knows the guid before anybody asked for the name.
	again := start(t, mxsim.Config{Seed: 8})
	_, err = again.AddUser(mxsim.User{GUID: "USR-1"})
	must(t, err)
	if got := again.get(t, members+as[string](t, lower["guid"])).member(t, 200); got["connection_status"] != "CHALLENGED" {
		t.Errorf("after a restart: %v", got)
	}
	own := again.addTo(t, "USR-1", mxsim.Patch{"id": "LOCKED"})
	if got := again.get(t, members+"LOCKED").member(t, 200); got["guid"] != own.GUID {
		t.Error("a real id does not go before a status name")
	}
	if resp := again.get(t, "/users/USR-2/members/LOCKED"); resp.status != 404 {
		t.Errorf("unknown user: status %d", resp.status)
	}
}

func blankMessage(m map[string]any) bool {
	text, ok := m["connection_status_message"].(string)
	return !ok || text == ""
}
