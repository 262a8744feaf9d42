package oracle

import (
	"encoding/json"
	"reflect"
	"testing"
)

func FuzzObjectIsSplitAsTheStandardLibraryReadsIt(f *testing.F) {
	for _, seed := range []string{
		`{}`, ` { } `, `{"a":1}`, `{"a" : "x\"}y" , "b":[{"c":"]"},2], "d":{"e":{}},"f":true,"g":-1e9}`, `{"é":null,"\u00e9":0}`,
		`[]`, `"x"`, `7`, ``, `{"a":1}}`, `{"a":{"b":"\\"},"c":"\\\""}`, "{\"a\":[1,\n2]\t,\r\"b\":\"\"}", "{\"\xff\":\"\xff\"}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := parseObject(raw)
		var want map[string]json.RawMessage
		if json.Unmarshal(raw, &want) != nil || want == nil {
			if err == nil {
				t.Fatalf("%q was taken for an object", raw)
			}
			return
		}
		if err != nil {
			return // A name twice, which the library takes.
		}
		if len(got.names) != len(want) {
			t.Fatalf("%q was split into %q, want %d fields", raw, got.names, len(want))
		}
		for i, name := range got.names {
			var a, b any
			if json.Unmarshal(got.values[i], &a) != nil || json.Unmarshal(want[name], &b) != nil || !reflect.DeepEqual(a, b) {
				t.Fatalf("%q: %s is %q, want %q", raw, name, got.values[i], want[name])
			}
			if s, ok := str(got.values[i]); ok != (want[name][0] == '"') || ok && !reflect.DeepEqual(b, any(s)) {
				t.Fatalf("%q: %s is the string %q (%t), want %q", raw, name, s, ok, b)
			}
		}
	})
}

func TestNameThatComesTwiceIsAnError(t *testing.T) {
	t.Parallel()
	if _, err := parseObject([]byte(`{"a":1,"\u0061":2}`)); err == nil || err.Error() != "has a twice" {
		t.Errorf("error %v, want one that names it", err)
	}
}
