package heap

import "fmt"

// Slot names one slot of a heap file: the file's number in bits 28 to 47 and
// the slot's index in the file in bits 0 to 27. Files are numbered from 1, so
// the zero Slot is "none". All slots of a file have one size (its Class).
type Slot uint64

// MakeSlot names slot index of file number file (1 to MaxFile).
func MakeSlot(file uint32, index uint32) Slot { return Slot(uint64(file)<<28 | uint64(index)) }

// Limits of a Slot's parts.
const (
	MaxFile  = 1<<20 - 1
	MaxIndex = 1<<28 - 1
)

// File is the number of the heap file; Index the slot's place in it.
func (s Slot) File() uint32  { return uint32(s >> 28) }
func (s Slot) Index() uint32 { return uint32(s & MaxIndex) }

func (s Slot) String() string { return fmt.Sprintf("%d:%d", s.File(), s.Index()) }

// Class is a slot size as a power of two: 9 (512 bytes) to 16 (64 KiB).
type Class uint8

// Limits of a Class.
const (
	MinClass Class = 9
	MaxClass Class = 16
)

// Bytes is the slot size in bytes.
func (c Class) Bytes() int { return 1 << c }

// ClassFor is the smallest class that holds n bytes, n from 1 to 65536.
func ClassFor(n int) Class {
	c := MinClass
	for c.Bytes() < n {
		c++
	}
	return c
}

// Extent is Count consecutive slots of one file.
type Extent struct {
	First Slot
	Count uint32
}
