package events_test

import (
	"strings"
	"testing"

	"github.com/memberwatch/memberwatch/events"
)

func TestCommandIsValidWithGuidsOrPartnerIDs(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 1024)
	for name, c := range map[string]events.Command{
		"guids":            {User: userGUID, Member: memberGUID},
		"partner ids":      {User: "u-1234", Member: "checking_17"},
		"url-safe user":    {User: "anna.b+test@example.com", Member: "m"},
		"user with dots":   {User: "a.b..c", Member: "m"},
		"three dots":       {User: "...", Member: "m"},
		"longest ids":      {User: long, Member: long},
		"everything":       {User: "u", Member: "m", CommandID: strings.Repeat("c", 64), Aggregate: true, Reason: "nightly: Käse"},
		"longest reason":   {User: "u", Member: "m", Reason: strings.Repeat("r", 256)},
		"lower-case guids": {User: "usr-1", Member: "mbr-1"},
	} {
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCommandErrorNamesTheField(t *testing.T) {
	t.Parallel()
	// What is no id of a member is none of a user, except for the characters that users alone may have.
	ids := map[string]string{
		"":                          "missing",
		".":                         "path",
		"..":                        "path",
		"*":                         "'*'",
		">":                         "'>'",
		"a*b":                       "'*'",
		"a b":                       "' '",
		" a":                        "' '",
		"a\n":                       `'\n'`,
		"a\tb":                      `'\t'`,
		"a\x00":                     `'\x00'`,
		"a\x7f":                     `'\x7f'`,
		"a/b":                       "'/'",
		"a%2fb":                     "'%'",
		"a?b":                       "'?'",
		"a#b":                       "'#'",
		"é":                         "'é'",
		"a\xff":                     "byte 1",
		strings.Repeat("a", 1025):   "1025 bytes",
		strings.Repeat("a", 2000):   "2000 bytes",
		strings.Repeat("\x00", 2e3): "2000 bytes",
	}
	for id, want := range ids {
		wantError(t, events.Command{User: id, Member: "m"}, "user: ", want)
		wantError(t, events.Command{User: "u", Member: id}, "member: ", want)
	}
	for _, id := range []string{"a.b", "a@b", "a+b", "a:b", "a=b", "a~b"} {
		wantError(t, events.Command{User: "u", Member: id}, "member: ", "has only")
	}
	for _, rest := range []string{"", "a.b", "*", "a b", strings.Repeat("a", 61)} {
		if rest != "" {
			wantError(t, events.Command{User: "USR-" + rest, Member: "m"}, "user: ", "guid")
			wantError(t, events.Command{User: "u", Member: "MBR-" + rest}, "member: ", "guid")
		}
	}
	for _, id := range badTokens {
		if id != "" {
			wantError(t, events.Command{User: "u", Member: "m", CommandID: id}, "command_id: ", "1 to 64")
		}
	}
	for reason, want := range map[string]string{
		strings.Repeat("r", 257): "257 bytes",
		"a\nb":                   "control character",
		"a\x00":                  "control character",
		"a\x7f":                  "control character",
		"\xff":                   "UTF-8",
	} {
		wantError(t, events.Command{User: "u", Member: "m", Reason: reason}, "reason: ", want)
	}
}

func TestCommandErrorNamesEveryField(t *testing.T) {
	t.Parallel()
	err := events.Command{Member: "a b", CommandID: "*", Reason: "\n"}.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 4 {
		t.Fatalf("want one line per field, got %q", lines)
	}
	for i, field := range []string{"user: ", "member: ", "command_id: ", "reason: "} {
		if !strings.HasPrefix(lines[i], field) {
			t.Errorf("line %d is %q, want it to begin with %q", i, lines[i], field)
		}
	}
}

func TestGuidsAreToldByTheirPrefix(t *testing.T) {
	t.Parallel()
	for id, want := range map[string][2]bool{
		userGUID: {true, false}, memberGUID: {false, true}, "usr-1": {false, false}, "": {false, false}, "xUSR-": {false, false},
	} {
		if events.IsUserGUID(id) != want[0] || events.IsMemberGUID(id) != want[1] {
			t.Errorf("%q: user %v, member %v", id, events.IsUserGUID(id), events.IsMemberGUID(id))
		}
	}
}

// wantError checks that c has the one problem, told in one short line.
func wantError(t *testing.T, c events.Command, field, want string) {
	t.Helper()
	err := c.Validate()
	if err == nil {
		t.Errorf("%.80v is valid, want an error that begins with %q", c, field)
		return
	}
	msg := err.Error()
	if !strings.HasPrefix(msg, field) || !strings.Contains(msg, want) || strings.Contains(msg, "\n") || len(msg) > 400 {
		t.Errorf("%.80v: error %q, want one line that begins with %q and contains %q", c, msg, field, want)
	}
}
