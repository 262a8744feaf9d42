package settings

import (
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sethvargo/go-envconfig"
)

type masked string

func (masked) LogValue() slog.Value { return slog.StringValue("***") }

type part struct {
	Wait  time.Duration `env:"WAIT, default=3s" desc:"How long."`
	Some  int           `env:"SOME, default=7"`
	Many  uint64        `env:"MANY"`
	Share float64       `env:"SHARE"`
	On    bool          `env:"ON, default=true"`
	Name  string        `env:"NAME"`
	Key   masked        `env:"KEY"`
	Other int
}

func TestOfListsWhatTheFieldsDeclare(t *testing.T) {
	t.Parallel()
	all := Of(new(part), &struct {
		Last string `env:"LAST"`
	}{})
	if len(all) != 8 || all[7].Name != "LAST" {
		t.Fatalf("settings %+v", all)
	}
	if s := all[0]; s.Name != "WAIT" || s.Default != "3s" || s.Meaning != "How long." || s.Secret {
		t.Errorf("%+v", s)
	}
	if s := all[6]; s.Name != "KEY" || !s.Secret {
		t.Errorf("%+v is no secret", s)
	}
}

func TestReadNamesEveryVariableThatCannotBeReadAndTakesItForNotSet(t *testing.T) {
	t.Parallel()
	var p part
	var got []string
	for _, err := range Read(t.Context(), envconfig.MapLookuper(map[string]string{
		"WAIT": "soon", "SOME": "x", "MANY": "-1", "SHARE": "half", "ON": "perhaps", "NAME": "a",
	}), &p) {
		got = append(got, err.Error())
	}
	want := []string{
		`WAIT: "soon" is not a duration such as 3s`, `SOME: "x" is not a whole number`, `MANY: "-1" is not a whole number from 0 on`,
		`SHARE: "half" is not a number`, `ON: "perhaps" is not true or false`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(part{Wait: 3 * time.Second, Some: 7, On: true, Name: "a"}, p); diff != "" {
		t.Errorf("read (-want +got):\n%s", diff)
	}
}

func TestAnEmptyVariableIsNotSet(t *testing.T) {
	t.Parallel()
	env := envconfig.MapLookuper(map[string]string{"SOME": "", "NAME": "a"})
	var p part
	if problems := Read(t.Context(), env, &p); len(problems) > 0 || p.Some != 7 || p.Name != "a" {
		t.Errorf("%v, read %+v", problems, p)
	}
	if _, set := Given(env).Lookup("SOME"); set {
		t.Error("it counts as given")
	}
}

func TestAnUnreadableSecretIsNotRepeated(t *testing.T) {
	t.Parallel()
	for _, s := range Of(&struct {
		Key masked `env:"KEY"`
	}{}) {
		if got := s.unreadable("hunter2").Error(); got != "KEY: is not a text" {
			t.Errorf("%q", got)
		}
	}
}
