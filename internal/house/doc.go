// Package house holds the rules that the compiler does not know: which package
// may import which, what lies at the top of the repository, and what a test
// must not do. It has no code of its own; its tests read the source tree and
// fail with the file, the line and the rule.
//
// The import map is in map_test.go. Imports run in one direction,
//
//	cmd → bus, sweep → refresh → member → events
//	      sweep, refresh → mx
//	cmd → webhook → events
//	cmd → observe, settings
//
// (mx, observe and settings import nothing of ours), and each package keeps one kind of knowledge: bus knows NATS, mx knows MX,
// member knows neither, and refresh alone brings mx and member together. A
// package that the map does not name fails the test, so a new room in the house
// is a decision and not an accident. Files are read whatever their build tags,
// hence a tag is no way around a wall.
//
// Tests may import more than the code beside them (a real NATS server, the
// simulator, the oracle), except where a rule says never: the oracle stays a
// stranger to the code it judges, and the simulator to the client it answers.
package house
