"""Kinds of operations: names as PyTorch, cuBLAS, CUDA and Triton give them."""

from __future__ import annotations

import pytest

from paraformer_bench.timeline.kinds import (
    ATTENTION,
    COPY,
    ELEMENTWISE,
    NORM,
    OTHER,
    PRODUCT,
    REDUCTION,
    kind_of,
)


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("aten::addmm", PRODUCT),
        ("aten::mm", PRODUCT),
        ("aten::baddbmm", PRODUCT),
        ("aten::convolution", PRODUCT),
        ("aten::mkldnn_convolution", PRODUCT),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", ATTENTION),
        ("aten::_scaled_dot_product_efficient_attention_backward", ATTENTION),
        ("aten::native_layer_norm", NORM),
        ("aten::native_layer_norm_backward", NORM),
        ("aten::gelu", ELEMENTWISE),
        ("aten::gelu_backward", ELEMENTWISE),
        ("aten::add", ELEMENTWISE),
        ("aten::add_", ELEMENTWISE),
        ("aten::mul", ELEMENTWISE),
        ("aten::_foreach_addcdiv_", ELEMENTWISE),
        ("aten::_fused_adamw_", ELEMENTWISE),
        ("aten::sum", REDUCTION),
        ("aten::_softmax", REDUCTION),
        ("aten::_log_softmax_backward_data", REDUCTION),
        ("aten::nll_loss_forward", REDUCTION),
        ("aten::copy_", COPY),
        ("aten::clone", COPY),
        ("aten::cat", COPY),
        ("aten::stack", COPY),
        ("aten::fill_", COPY),
        ("aten::zero_", COPY),
        ("aten::ones_like", COPY),
        ("aten::_local_scalar_dense", COPY),
        ("mylib::attention", ATTENTION),
        ("aten::select_backward", COPY),
        ("aten::_foreach_zero_", COPY),
        ("aten::zeros", COPY),
        ("aten::full_like", COPY),
        ("aten::mse_loss", REDUCTION),
        ("mkldnn::_linear_pointwise", PRODUCT),
        ("aten::nonzero", OTHER),
        ("aten::randn", OTHER),
    ],
)
def test_operations_of_the_host(operation: str, kind: str) -> None:
    assert kind_of(operation, "whatever_kernel") == kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("sm90_xmma_gemm_f32f32_tf32f32_f32_tn_n_tilesize64x64x32_cublas", PRODUCT),
        ("nvjet_hsh_128x64_64x10_2x1_v_bz_coopA_TNN", PRODUCT),
        ("void cutlass::Kernel2<cutlass_80_simt_sgemm_128x64_8x5_nn_align1>", PRODUCT),
        ("void cublasLt::splitKreduce_kernel<32, 16, int, float>", PRODUCT),
        ("fmha_cutlassF_f32_aligned_64x64_rf_sm80(AttentionKernel)", ATTENTION),
        ("void pytorch_flash::flash_fwd_kernel<Flash_fwd_kernel_traits<64>>", ATTENTION),
        ("void at::native::(anonymous namespace)::vectorized_layer_norm_kernel<float>", NORM),
        ("void at::native::vectorized_elementwise_kernel<4, GeluCUDAKernelImpl>", ELEMENTWISE),
        ("void at::native::elementwise_kernel<128, 2, direct_copy_kernel_cuda>", COPY),
        ("void at::native::reduce_kernel<512, 1, ReduceOp<float, func_wrapper>>", REDUCTION),
        ("void at::native::CatArrayBatchedCopy<float>", COPY),
        ("triton_poi_fused_add_gelu_3", ELEMENTWISE),
        ("triton_per_fused_add_native_layer_norm_0", NORM),
        ("triton_red_fused_sum_1", REDUCTION),
        ("triton_tem_fused_bmm_2", PRODUCT),
        ("triton_poi_fused_addmm_gelu_3", ELEMENTWISE),
        ("triton_poi_fused_convolution_0", ELEMENTWISE),
        ("triton_poi_fused__scaled_dot_product_efficient_attention_1", ELEMENTWISE),
        ("triton_per_fused_add_addmm_native_layer_norm_4", NORM),
        ("triton_tem_fused_flex_attention_0", ATTENTION),
        (
            "cudnn_generated_fort_native_sdpa_sm90_flash_fprop_wgmma_f16_knob_7_64x128x128",
            ATTENTION,
        ),
        ("cudnn_generated_fort_native_sdpa_sm90_flash_bprop_wgmma_f16_knob_26", ATTENTION),
        ("void cutlass::device_kernel<flash::enable_sm90<flash::FlashAttnFwdSm90<", ATTENTION),
        ("_attn_fwd", ATTENTION),
        ("ncclDevKernel_AllReduce_Sum_f32_RING_LL(ncclDevKernelArgsStorage<4096ul>)", OTHER),
        ("ncclDevKernel_AllGather_RING_LL", OTHER),
        ("void at::native::GammaBetaBackwardCUDAKernelTemplate<float>", NORM),
        ("void cudnn::ops::nchwToNhwcKernel<float, float>", COPY),
        ("void cudnn::winograd_nonfused::winogradForwardOutput4x4", PRODUCT),
        ("void at::native::im2col_kernel<float>", COPY),
        ("Memcpy HtoD (Pinned -> Device)", COPY),
        ("Memset (Device)", COPY),
        ("spin", OTHER),
    ],
)
def test_kernels_of_a_replay(name: str, kind: str) -> None:
    assert kind_of("", name) == kind


def test_operation_of_the_host_decides_before_the_kernel() -> None:
    assert kind_of("aten::sum", "vectorized_elementwise_kernel") == REDUCTION
    assert kind_of("aten::whatever", "vectorized_elementwise_kernel") == ELEMENTWISE
