package oracle

import (
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"
)

// checkTruth holds each member's last state against what MX answers now.
func (c *checker) checkTruth(truth iter.Seq2[string, []byte]) {
	for guid, body := range truth {
		if c.opts.Member != "" && c.opts.Member != guid {
			continue
		}
		if body != nil {
			c.compare(I0, guid, unwrap(body), "MX")
			continue
		}
		key, known := c.byMember[guid]
		if l := c.lives[key]; known && l.state[fDeleted] != c.vocabulary.yes {
			c.offend(Offense{I0, c.events, l.seq, key, "MX answers 404, and the last event says nothing of a deletion"})
		}
	}
}

// compare holds a member's last state against an answer of MX.
func (c *checker) compare(inv Invariant, guid string, body []byte, who string) {
	key, known := c.byMember[guid]
	if !known {
		c.offend(Offense{inv, c.events, 0, guid, who + " knows the member, and it was never published"})
		return
	}
	l := c.lives[key]
	wrong := func(format string, args ...any) {
		c.offend(Offense{inv, c.events, l.seq, key, fmt.Sprintf(format, args...)})
	}
	m, err := parseObject(body)
	if err != nil {
		wrong("%s: the member %v", who, err)
		return
	}
	v := &c.vocabulary
	if l.state[fDeleted] == v.yes {
		wrong("%s knows the member, the last event says it is deleted", who)
		return
	}
	merged := l.state // what the state should be
	for id := range snapshotFields {
		f := v.fields[id]
		raw := m.get(f.name)
		said, ok := v.fromMX(f.kind, raw)
		if f.kind == text && f.attribute && string(raw) == "null" {
			ok = true // of a text, null is a value: there is none
		}
		switch {
		case id == fError:
			if is, ok := saidFault(m.get(f.name)); ok && is != compared(l.state[id]) {
				wrong("%s: %s says %s, the last event %s", f.name, who, is, compared(l.state[id]))
			}
		case !ok:
			// No information, or none that can be read.
		case f.attribute, id == fStatus, id == fUserGUID:
			if merged[id] = said; said != l.state[id] {
				wrong("%s: %s says %s, the last event %s", f.name, who, said.Value(), l.state[id].Value())
			}
		case id == fSuccessfullyAggregatedAt && c.opts.Aggregated:
			if moment(said).After(moment(l.state[id])) {
				wrong("%s: %s says %s, the last event %s", f.name, who, said.Value(), l.state[id].Value())
			}
		case id == fIsBeingAggregated:
			if merged[id] = said; said == v.no && l.state[fProvisional] == v.yes {
				wrong("provisional: %s says that no aggregation runs, the last event that one does", who)
			}
		}
	}
	c.compareNeed(merged, m, wrong, who)
}

// compareNeed holds oauth_required against what it should be with MX's URI at hand.
func (c *checker) compareNeed(merged state, m object, wrong func(string, ...any), who string) {
	must, may := c.needs(merged)
	if there, told := offersWindow(m); told && there && may && merged[fIsBeingAggregated] != c.vocabulary.yes {
		must = true
	}
	if is := merged[fOAuthRequired] == c.vocabulary.yes; is && !may || !is && must {
		wrong("oauth_required: the last event says %t, by what %s says it must be %t", is, who, must)
	}
}

// offersWindow tells whether an answer has a URI to send the user to. Whoever keeps
// no URI tells whether there was one; told is false when neither is there.
func offersWindow(m object) (there, told bool) {
	if blank := m.get("oauth_window_uri_blank"); blank != nil {
		return string(blank) == "false", true
	}
	uri, _ := m.str("oauth_window_uri")
	return strings.TrimSpace(uri) != "", m.get("oauth_window_uri") != nil
}

// fromMX reads a value as MX writes it; ok is false when it carries no
// information.
func (v *vocabulary) fromMX(k kind, raw json.RawMessage) (said value, ok bool) {
	if raw == nil || string(raw) == "null" {
		return v.null, false
	}
	if k == instant {
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return v.null, false
		}
		t, err := time.Parse(time.RFC3339Nano, s)
		return encode(t.UTC().Format(time.RFC3339Nano)), err == nil
	}
	if k == set {
		var words []string
		if err := json.Unmarshal(raw, &words); err != nil {
			return v.null, false
		}
		slices.Sort(words) // MX gives them in any order.
		return encode(append([]string{}, slices.Compact(words)...)), true
	}
	said, err := v.canonical(k, raw)
	return said, err == nil
}

// saidFault reads an error in any of MX's shapes: absent, null, {}, an object,
// or one of these as a JSON string. ok is false when it is none of them.
func saidFault(raw json.RawMessage) (f sameFault, ok bool) {
	if len(raw) > 0 && raw[0] == '"' {
		var inner string
		if err := json.Unmarshal(raw, &inner); err != nil {
			return sameFault{}, false
		}
		raw = json.RawMessage(strings.TrimSpace(inner))
	}
	if len(raw) == 0 || string(raw) == "null" {
		return sameFault{}, true
	}
	o, err := parseObject(raw)
	return faultOf(o), err == nil
}
