//go:build peer

// Names the program that go.mod pins, so that `go mod tidy` keeps it and
// scripts/peers can build it. Nothing of ours is in this module.
package peer

import _ "github.com/nats-io/nats-server/v2"
