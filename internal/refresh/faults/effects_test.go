package faults

import "slices"

// effect is a side effect of the protocol: something the service asks of the
// world, or tells it.
type effect string

// The side effects. The first group goes through ports of package refresh, the
// second over the wire.
const (
	load     effect = "load state"
	read     effect = "read MX"
	confirm  effect = "confirm the last sequence"
	publish  effect = "publish"
	uri      effect = "get a URI"
	look     effect = "look for the announcement"
	announce effect = "announce"
	follow   effect = "follow up"
	schedule effect = "schedule a confirmation"
	cancel   effect = "cancel a confirmation"
	stands   effect = "ask whether a confirmation stands"
	followOn effect = "schedule the next read"

	ack           effect = "ack"
	ackFollowUp   effect = "ack a follow-up"
	ackBackground effect = "ack a background read"
	nak           effect = "nak"
	deadLetter    effect = "dead letter"
	term          effect = "terminate"
	result        effect = "result"
)

// plot is what happens to the member while the fault strikes.
type plot string

// The plots.
const (
	change   plot = "change"
	noChange plot = "no change"
	need     plot = "need to authorize"
	deletion plot = "deletion"
	comeback plot = "deletion taken back"
	journey  plot = "on its way to another state"
)

// plots lists all.
func plots() []plot { return []plot{change, noChange, need, deletion, comeback, journey} }

// row is an effect and the plots in which it takes place.
type row struct {
	effect effect
	plots  []plot
}

// rows is the matrix's first two dimensions. Which effect takes place in which
// plot is not an opinion: TestEveryEffectTakesPlaceWhereTheMatrixSaysSo counts.
func rows() []row {
	all := plots()
	return []row{
		{load, all},
		{read, all},
		{confirm, []plot{noChange, need, deletion, comeback, journey}},
		{publish, []plot{change, need, deletion, journey}},
		{uri, []plot{need}},
		{look, []plot{need}},
		{announce, []plot{need}},
		{follow, []plot{change, need, deletion, journey}},
		{schedule, []plot{deletion}},
		{stands, []plot{deletion}},
		{cancel, []plot{comeback}},
		{followOn, []plot{need, journey}},
		{ack, all},
		{ackFollowUp, []plot{change, need, deletion, journey}},
		{ackBackground, []plot{need, deletion, journey}},
		{nak, all},
		{deadLetter, all},
		{term, all},
		{result, all},
	}
}

// kind is what goes wrong with an effect.
type kind string

// The kinds. Each says whether the effect took place, and what the worker got
// to know of it.
const (
	refused     kind = "failed and did not happen"
	lostRequest kind = "unanswered and did not happen"
	lostAnswer  kind = "unanswered but did happen"
	stray       kind = "unanswered and happened much later"
	lateRequest kind = "stopped before it until another worker took over"
	lateAnswer  kind = "stopped after it until another worker took over"
	diedBefore  kind = "process died before it"
	diedAfter   kind = "process died after it"
	twice       kind = "happened twice"
)

// late reports whether the worker is stopped across a takeover.
func (k kind) late() bool { return k == lateRequest || k == lateAnswer }

func (k kind) died() bool { return k == diedBefore || k == diedAfter }

// onWire reports whether the effect is a message that no port shows.
func (e effect) onWire() bool {
	return slices.Contains([]effect{ack, ackFollowUp, ackBackground, nak, deadLetter, term, result}, e)
}

// kinds are those that an effect can meet. A message on the wire has no answer
// that could be lost or late, but can be sent twice; a question that is asked
// much later does nothing.
func (e effect) kinds() []kind {
	switch {
	case e.onWire():
		return []kind{refused, lostRequest, lostAnswer, lateRequest, diedBefore, diedAfter, twice}
	case e == follow: // it is a delivery: nobody answers
		return []kind{refused, lostRequest, lateRequest, diedBefore, diedAfter}
	case slices.Contains([]effect{publish, announce, schedule, cancel, followOn}, e):
		return []kind{refused, lostRequest, lostAnswer, stray, lateRequest, lateAnswer, diedBefore, diedAfter}
	}
	return []kind{refused, lostRequest, lostAnswer, lateRequest, lateAnswer, diedBefore, diedAfter}
}
