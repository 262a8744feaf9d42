package bus

// Names of headers, next to those of package command. NATS compares them byte by byte.
const (
	headerSource               = "Memberwatch-Source"
	expectedLastSubjSeqSubject = "Nats-Expected-Last-Subject-Sequence-Subject"
)
