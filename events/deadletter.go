package events

import "time"

// Category groups dead letters by what has to be done about them. It is the
// last token of their subject.
type Category string

// The categories.
const (
	CategoryInvalid         Category = "invalid"          // the command does not parse or validate: correct it and publish it again
	CategoryMisdirected     Category = "misdirected"      // not a refresh command: the subject is wrong
	CategoryExhausted       Category = "exhausted"        // MX failed for this member until COMMAND_BUDGET was used up
	CategoryPanicked        Category = "panicked"         // handling it crashed again and again: a defect of ours
	CategoryStateUnreadable Category = "state_unreadable" // the member's last event cannot be read
)

// Categories returns all categories.
func Categories() []Category {
	return []Category{CategoryInvalid, CategoryMisdirected, CategoryExhausted, CategoryPanicked, CategoryStateUnreadable}
}

// MaxDeadLetterBody bounds what a dead letter keeps of a body.
const MaxDeadLetterBody = 256 << 10

// DeadLetter is a message that could not be carried out, with all that is
// needed to understand it and to send it again. The headers are data here, so
// that none of them acts a second time.
type DeadLetter struct {
	Headers    map[string][]string `json:"headers"`
	Body       []byte              `json:"body"`        // base64 in JSON; cut at MaxDeadLetterBody
	BodySize   int                 `json:"body_size"`   // bytes, of the whole
	BodySHA256 string              `json:"body_sha256"` // hex, of the whole
	Subject    string              `json:"subject"`
	Stream     string              `json:"stream"`
	Sequence   uint64              `json:"sequence"`
	Reason     string              `json:"reason"`
	Category   Category            `json:"category"`
	Attempts   uint64              `json:"attempts"` // deliveries, the last included
	FirstAt    time.Time           `json:"first_at"` // when the message was stored
	DeadAt     time.Time           `json:"dead_at"`
}
