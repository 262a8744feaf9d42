// Package e2e holds journeys: what customers of memberwatch do and see, played
// against the built binary through its public contract alone. It knows NATS
// subjects and streams, package events, the schemas, the health port and exit
// codes; nothing inside the service.
//
// There is one set of journeys and there are several stacks to play it on:
//
//   - processes: the built memberwatch with its embedded NATS, and mxsim. It needs
//     nothing but Go and always runs.
//   - containers: the image of memberwatch, with a NATS of one node and one of
//     three. It runs where REQUIRE_DOCKER=1 or MEMBERWATCH_IMAGE is set, as make
//     e2e does after it has built the image from this very code.
//
// Every stack ends with the oracle, which reads all that was published, and with
// a search of all that was logged for secrets. Package stack holds the machinery,
// and package chaos breaks these stacks while they are under load.
package e2e
