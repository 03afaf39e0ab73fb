/*
 * weft__context_switch for x86-64: see context.h.
 *
 *   rdi  where to store the context that is left
 *   rsi  the context to take up, or the high end of a new stack
 *   rdx  NULL, or the entry of a new context
 *   rcx  its argument
 *
 * A context that was left looks like this from its stack pointer up:
 *
 *   0   MXCSR (4 bytes), x87 control word (2 bytes)
 *   8   r15 r14 r13 r12 rbx rbp
 *   56  return address
 */
        .text
        .globl  weft__context_switch
        .hidden weft__context_switch
        .type   weft__context_switch, @function
        .p2align 5
weft__context_switch:
        .cfi_startproc
        pushq   %rbp
        .cfi_adjust_cfa_offset 8
        pushq   %rbx
        .cfi_adjust_cfa_offset 8
        pushq   %r12
        .cfi_adjust_cfa_offset 8
        pushq   %r13
        .cfi_adjust_cfa_offset 8
        pushq   %r14
        .cfi_adjust_cfa_offset 8
        pushq   %r15
        .cfi_adjust_cfa_offset 8
        subq    $8, %rsp
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %rbp, 48
        .cfi_rel_offset %rbx, 40
        .cfi_rel_offset %r12, 32
        .cfi_rel_offset %r13, 24
        .cfi_rel_offset %r14, 16
        .cfi_rel_offset %r15, 8
        stmxcsr (%rsp)
        fnstcw  4(%rsp)
        movq    %rsp, (%rdi)
        movl    (%rsp), %eax
        movzwl  4(%rsp), %r8d
        testq   %rdx, %rdx
        jnz     .Lnew

        /* The layout is the same on the other stack, so the CFI holds. Bits
         * 0 to 5 of MXCSR are status, which the ABI leaves to the caller. */
.Ltake_up:
        movq    %rsi, %rsp
        xorl    (%rsp), %eax
        andl    $0xffc0, %eax
        jnz     .Lload_mxcsr
.Lmxcsr_done:
        cmpw    4(%rsp), %r8w
        jne     .Lload_x87
.Lx87_done:
        addq    $8, %rsp
        .cfi_remember_state
        .cfi_adjust_cfa_offset -8
        popq    %r15
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r15
        popq    %r14
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r14
        popq    %r13
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r13
        popq    %r12
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r12
        popq    %rbx
        .cfi_adjust_cfa_offset -8
        .cfi_restore %rbx
        popq    %rbp
        .cfi_adjust_cfa_offset -8
        .cfi_restore %rbp
        ret
        .cfi_restore_state

.Lload_mxcsr:
        ldmxcsr (%rsp)
        jmp     .Lmxcsr_done
.Lload_x87:
        fldcw   4(%rsp)
        jmp     .Lx87_done

        /* A new context: nothing is above it, and backtraces end here. It
         * comes back with the context to take up after it, by a return that
         * pairs with this call: so the returns of that context are predicted
         * as if it had only been called away. */
.Lnew:
        .cfi_remember_state
        movq    %rsi, %rsp
        xorl    %ebp, %ebp
        .cfi_undefined %rip
        .cfi_def_cfa %rsp, 0
        movq    %rcx, %rdi
        andl    $0xffc0, %eax
        cmpl    $0x1f80, %eax
        jne     .Lnew_mxcsr
.Lnew_mxcsr_done:
        cmpw    $0x037f, %r8w
        jne     .Lnew_x87
.Lnew_x87_done:
        call    *%rdx
        movq    %rax, %rsi
        stmxcsr -8(%rsp)
        fnstcw  -4(%rsp)
        movl    -8(%rsp), %eax
        movzwl  -4(%rsp), %r8d
        jmp     .Ltake_up
.Lnew_mxcsr:
        ldmxcsr .Ldefault_mxcsr(%rip)
        jmp     .Lnew_mxcsr_done
.Lnew_x87:
        fldcw   .Ldefault_x87(%rip)
        jmp     .Lnew_x87_done
        .cfi_endproc
        .size   weft__context_switch, . - weft__context_switch

/* weft__context_defaults: see context.h. */
        .globl  weft__context_defaults
        .hidden weft__context_defaults
        .type   weft__context_defaults, @function
        .p2align 4
weft__context_defaults:
        .cfi_startproc
        stmxcsr -8(%rsp)
        fnstcw  -4(%rsp)
        movl    -8(%rsp), %eax
        andl    $0xffc0, %eax
        cmpl    $0x1f80, %eax
        jne     .Ldefaults_mxcsr
.Ldefaults_mxcsr_done:
        cmpw    $0x037f, -4(%rsp)
        jne     .Ldefaults_x87
        ret
.Ldefaults_mxcsr:
        ldmxcsr .Ldefault_mxcsr(%rip)
        jmp     .Ldefaults_mxcsr_done
.Ldefaults_x87:
        fldcw   .Ldefault_x87(%rip)
        ret
        .cfi_endproc
        .size   weft__context_defaults, . - weft__context_defaults

        .section .rodata
        .p2align 2
.Ldefault_mxcsr:
        .long   0x1f80
.Ldefault_x87:
        .word   0x037f

        .section .note.GNU-stack, "", @progbits
