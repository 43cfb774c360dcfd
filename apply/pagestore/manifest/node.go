package manifest

import (
	"encoding/binary"
	"fmt"

	"github.com/google/uuid"

	"github.com/quire-db/quire/wal"
)

// Node is what this very copy of a store is, and may do. The zero value is that
// of stores from before there was more than one role: a writer that was never
// copied.
type Node struct {
	Role Role
	// ID is the store's UUID since this copy was taken for one of its own; zero
	// while that is Facts.Store, which heap files carry as well and which never changes.
	ID uuid.UUID
	// Place tells the directory that the store was last opened in from a copy of
	// it, as the disk names it; empty when no disk has said. At most MaxPlace bytes.
	Place string
}

// Role is who may write entries of a store's own.
//
//	role       entries come from     becomes    by
//	writer     transactions          follower   opening it as one
//	follower   the writer, by Apply  successor  Promote
//	successor  nobody yet            writer     the begin-timeline entry, once it is durable
type Role uint8

// Roles.
const (
	Writer    Role = 0
	Follower  Role = 1
	Successor Role = 2 // was promoted, and has still to begin its timeline
)

func (r Role) String() string {
	switch r {
	case Writer:
		return "writer"
	case Follower:
		return "follower"
	case Successor:
		return "successor"
	}
	return fmt.Sprintf("role %d", uint8(r))
}

// MaxPlace is the limit of Node.Place in bytes.
const MaxPlace = 255

// ID is the store's UUID: that of this copy if it was taken for one.
func (f *Facts) ID() uuid.UUID {
	if f.Node.ID != uuid.Nil {
		return f.Node.ID
	}
	return f.Store
}

func checkNode(n Node) error {
	switch {
	case n.Role > Successor:
		return fmt.Errorf("%v is unknown: %w", n.Role, wal.ErrVersion)
	case len(n.Place) > MaxPlace:
		return fmt.Errorf("a place of %d bytes, at most %d: %w", len(n.Place), MaxPlace, wal.ErrTooLarge)
	}
	return nil
}

func appendNode(b []byte, n Node) []byte {
	b = append(append(b, byte(n.Role)), n.ID[:]...)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(n.Place)))
	return append(b, n.Place...)
}

func (r *reader) node() *Node {
	n := &Node{Role: Role(r.u8()), ID: uuid.UUID(r.take(16))}
	n.Place = string(r.take(int(r.u16())))
	return n
}
