package catalogue

import (
	"errors"
	"fmt"
	"slices"

	"github.com/quire-db/quire/apply/pagestore/node"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/wal"
)

// Edit makes newer versions of a catalogue. Nodes it made are changed in place
// as long as Epoch stays the same, so a catalogue may be given to readers only
// once no Edit of its epoch will run again. Edits of one catalogue follow each
// other (the sequencer's mutex) with epochs that never decrease.
type Edit struct {
	Epoch  uint64          // from 1
	LSN    wal.LSN         // of the entry that causes the change: birth of what it makes
	Death  wal.LSN         // of what it replaces, when that is not LSN: one more if a state at LSN was published already
	Source node.Source     // loads the nodes that lie in the heap
	Dead   func(node.Dead) // is told, once, of each slot the new version no longer reaches; nil: what it makes is for reading only, and nothing dies of it
}

// Sizes, in bytes, that govern splitting and merging. A node and one item
// never exceed what two nodes hold, so one split always does.
const (
	maxBytes  = 4096
	lowBytes  = maxBytes / 4       // a smaller node is merged if a neighbour has room
	mateBytes = lowBytes + maxItem // below it the loss of one item may call for merging
	maxItem   = leafItemSize + MaxKey + MaxValue
)

// Put sets key to v, which the catalogue keeps. After an error, which is the
// Source's or says that key or value is out of bounds (wal.ErrTooLarge), c is
// as it was and Dead has been told of nothing.
func (e *Edit) Put(c *Catalogue, key string, v Value) error {
	if err := validate(key, v); err != nil {
		return err
	}
	if c.root.none() {
		n := &treeNode{epoch: e.Epoch, birth: e.LSN, size: headerSize}
		n.put(key, v)
		c.root = kid{n: n}
		return nil
	}
	n, right, sep, err := e.put(&c.root, anyLevel, key, v)
	if err != nil {
		return err
	}
	c.root = kid{n: n}
	if right != nil {
		c.root = kid{n: e.rootOver(n, right, sep)}
	}
	return nil
}

func validate(key string, v Value) error {
	switch {
	case key == "":
		return errors.New("catalogue: the empty key cannot be stored")
	case len(key) > MaxKey:
		return fmt.Errorf("catalogue: key of %d bytes, at most %d: %w", len(key), MaxKey, wal.ErrTooLarge)
	case v.Size() > MaxValue:
		return fmt.Errorf("catalogue: value of %d bytes for key %q, at most %d: %w", v.Size(), key, MaxValue, wal.ErrTooLarge)
	}
	return nil
}

// put sets key below k and returns the node that takes k's place and, when
// that became too large, its new right neighbour with its lower bound. All
// that can fail is done on the way down, before anything changes.
func (e *Edit) put(k *kid, level int, key string, v Value) (n, right *treeNode, sep string, err error) {
	if n, err = k.load(e.Source, level); err != nil {
		return nil, nil, "", err
	}
	if n.level == 0 {
		n = e.own(k, n)
		right, sep = split(n, n.put(key, v))
		return n, right, sep, nil
	}
	i := n.route(key)
	below, beside, bound, err := e.put(&n.kids[i], n.level-1, key, v)
	if err != nil {
		return nil, nil, "", err
	}
	n = e.own(k, n)
	n.kids[i] = kid{n: below}
	if beside != nil {
		n.insertKid(i+1, bound, kid{n: beside})
		right, sep = split(n, i+1)
	}
	return n, right, sep, nil
}

// split halves a node that is too large. One that grew at its end leaves the
// left half full, since keys that ascend with time come in that order.
func split(n *treeNode, grewAt int) (right *treeNode, sep string) {
	if n.size <= maxBytes {
		return nil, ""
	}
	if grewAt == len(n.keys)-1 {
		return n.cutAt(grewAt)
	}
	return n.cutAt(n.middle())
}

func (e *Edit) rootOver(left, right *treeNode, sep string) *treeNode {
	root := &treeNode{level: left.level + 1, epoch: e.Epoch, birth: e.LSN, size: headerSize}
	root.insertKid(0, "", kid{n: left})
	root.insertKid(1, sep, kid{n: right})
	return root
}

// Delete removes key and reports whether it was there. After an error, which
// is the Source's, c is as it was and Dead has been told of nothing.
func (e *Edit) Delete(c *Catalogue, key string) (bool, error) {
	if c.root.none() {
		return false, nil
	}
	n, err := c.root.load(e.Source, anyLevel)
	if err != nil {
		return false, err
	}
	n, err = e.remove(&c.root, n, key)
	if n == nil || err != nil {
		return false, err
	}
	switch {
	case len(n.keys) == 0:
		c.root = kid{}
	case len(n.kids) == 1:
		c.root = n.kids[0]
	default:
		c.root = kid{n: n}
	}
	return true, nil
}

// remove takes key out below k, whose node is n, and returns the node that
// takes k's place: one without keys when nothing is left, nil when key was not
// there. The neighbour that merging may need is loaded on the way down too.
func (e *Edit) remove(k *kid, n *treeNode, key string) (*treeNode, error) {
	if n.level == 0 {
		i, found := slices.BinarySearch(n.keys, key)
		if !found {
			return nil, nil
		}
		n = e.own(k, n)
		n.remove(i)
		return n, nil
	}
	i := n.route(key)
	below, err := n.kids[i].load(e.Source, n.level-1)
	if err != nil {
		return nil, err
	}
	mate, err := e.mateOf(n, i, below)
	if err != nil {
		return nil, err
	}
	below, err = e.remove(&n.kids[i], below, key)
	if below == nil || err != nil {
		return nil, err
	}
	n = e.own(k, n)
	n.kids[i] = kid{n: below}
	switch {
	case len(below.keys) == 0:
		n.remove(i)
	case mate != nil && below.size < lowBytes:
		e.merge(n, i, mate)
	}
	return n, nil
}

// mateAt is the index of the neighbour that kid i would be merged with.
func mateAt(n *treeNode, i int) int {
	if i+1 < len(n.kids) {
		return i + 1
	}
	return i - 1
}

// mateOf loads that neighbour, if there is one and it may be needed.
func (e *Edit) mateOf(n *treeNode, i int, below *treeNode) (*treeNode, error) {
	at := mateAt(n, i)
	if at < 0 || below.size >= mateBytes {
		return nil, nil
	}
	return n.kids[at].load(e.Source, n.level-1)
}

// merge joins kid i of n, both of this epoch, with its neighbour, whose node
// is mate, if one node has room for both.
func (e *Edit) merge(n *treeNode, i int, mate *treeNode) {
	at := mateAt(n, i)
	r := max(i, at)
	if n.kids[i].n.size+mate.size+len(n.keys[r]) > maxBytes {
		return
	}
	left, right := n.kids[i].n, mate
	if at < i {
		left, right = e.own(&n.kids[at], mate), left
		n.kids[at] = kid{n: left}
	} else {
		e.bury(&n.kids[at])
	}
	left.absorb(right, n.keys[r])
	n.remove(r)
}

// own returns n, the node of k, if this epoch made it, and a copy otherwise.
// A node that has a slot is never changed, whatever its epoch: the checkpoint
// that froze it may be writing it.
func (e *Edit) own(k *kid, n *treeNode) *treeNode {
	if n.epoch == e.Epoch && n.slot == 0 {
		return n
	}
	e.bury(k)
	return n.copy(e.Epoch, e.LSN)
}

// bury notes that the new version no longer reaches the node of k, and tells
// Dead if that has a slot.
func (e *Edit) bury(k *kid) {
	if e.Dead == nil {
		return // the node is another's, who goes on with it
	}
	var slot heap.Slot
	var birth wal.LSN
	if k.n == nil {
		slot, birth = k.ref.Slot, k.ref.Birth
	} else {
		slot, birth = k.n.slot, k.n.birth
		k.n.died = e.death()
	}
	if slot != 0 {
		e.Dead(node.Dead{Addr: uint64(slot), Birth: birth, Death: e.death()})
	}
}

func (e *Edit) death() wal.LSN { return max(e.LSN, e.Death) }
