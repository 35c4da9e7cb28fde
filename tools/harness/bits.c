// SPDX-License-Identifier: GPL-2.0
/*
 * Compiled with the flags of a built kernel's own mm/userfaultfd.o: each line of
 * the assembly that starts with "->" is a name and what it is in that kernel.
 */
#include <linux/mm.h>
#include <linux/pgtable.h>

#define SAY(name, value) asm volatile("\n->" name " %0" : : "i"((unsigned long)(value)))

void bits(void);
void bits(void)
{
	SAY("sizeof(struct_vm_area_struct)", sizeof(struct vm_area_struct));
#ifdef VM_WRTRACK
	SAY("VM_WRTRACK", VM_WRTRACK);
#endif
#ifdef VM_SOFTDIRTY
	SAY("VM_SOFTDIRTY", VM_SOFTDIRTY);
#endif
#ifdef VM_UFFD_WP
	SAY("VM_UFFD_WP", VM_UFFD_WP);
#endif
	SAY("VM_UFFD_MISSING", VM_UFFD_MISSING);
	SAY("VM_UFFD_MINOR", VM_UFFD_MINOR);
#ifdef _PAGE_UFFD_WP
	SAY("_PAGE_UFFD_WP", _PAGE_UFFD_WP);
#endif
#ifdef _PAGE_SOFT_DIRTY
	SAY("_PAGE_SOFT_DIRTY", _PAGE_SOFT_DIRTY);
#endif
#ifdef _PAGE_SWP_UFFD_WP
	SAY("_PAGE_SWP_UFFD_WP", _PAGE_SWP_UFFD_WP);
#endif
#ifdef PTE_UFFD_WP
	SAY("PTE_UFFD_WP", PTE_UFFD_WP);
#endif
#ifdef PTE_SWP_UFFD_WP
	SAY("PTE_SWP_UFFD_WP", PTE_SWP_UFFD_WP);
#endif
#ifdef _PAGE_SWP_SOFT_DIRTY
	SAY("_PAGE_SWP_SOFT_DIRTY", _PAGE_SWP_SOFT_DIRTY);
#endif
}
