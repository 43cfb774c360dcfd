// Package graph draws what a store holds as a tree of tips: volumes, the forks
// that hang off them, the tags that name tips and the holds that keep them, as text for a
// terminal.
//
// # Use
//
// Fill a Graph and call Text; see the example. The package knows
// nothing of stores: LSNs are numbers, identities are strings.
//
// # Guarantees
//
//  1. The same Graph gives the same bytes.
//  2. Any Graph can be drawn: tips in any order, origins that do not exist or go
//     round in a circle (whose lineage is then drawn as one without origin),
//     names of any bytes. Nothing panics.
//  3. Names cannot break out. What is not printable, control and bidirectional
//     characters among it, is shown as a Go string literal shows it; text from
//     right to left stays within its place.
//  4. Every name appears whole, on several lines if need be.
//  5. No line of Text is wider than the width asked for, or MinWidth.
//
// Cost: memory and output are proportional to the Graph, times the depth of
// forks of forks in the terminal; time is that with a logarithm for sorting.
// There are no limits here; who makes the Graph bounds it.
//
// # The tree of the terminal
//
// Each lineage has its tips beneath it, older ones first, and each tip the forks
// that were made of it. A lineage of one tip takes one line. LSNs stand in a
// column of their own at the left, sizes at the right. Indentation that would
// take more than half of the width shows only its innermost part.
package graph
