// Package crash cuts the power beneath a whole store.
package crash
